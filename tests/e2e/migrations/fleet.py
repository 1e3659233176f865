"""One `moreton up` with two services, and routes that move between them, one for each story."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from e2e.up.world import World, world_in
from support.ports import free_port
from support.waits import SECONDS, join_all, wait_until

COPY_HEADER = "x-moreton-copy"
_CHUNK = bytes(1024 * 1024)
_LATE_SECONDS = 0.05
Behaviour = Callable[[BaseHTTPRequestHandler], None]


class Side:
    """A service that says its *label*; by route it may behave otherwise."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.behaviours: dict[str, Behaviour] = {}
        self.asked: list[tuple[float, str]] = []  # when, and for which route; copies left out
        self.let_go = threading.Event()
        side = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 64 * 1024  # head and body in one packet

            def do_GET(self) -> None:
                route = self.path.split("/")[1]
                if not self.headers.get(COPY_HEADER):
                    side.asked.append((time.monotonic(), route))
                side.behaviours.get(route, side.answer)(self)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Who hung up wants nothing."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def answer(self, to: BaseHTTPRequestHandler, status: int = 200, price: int = 5) -> None:
        """Say who answers, in a header; the body is the same for both sides."""
        body = json.dumps({"price": price}).encode()
        to.send_response(status)
        to.send_header("content-type", "application/json")
        to.send_header("content-length", str(len(body)))
        to.send_header("x-side", self.label)
        to.end_headers()
        to.wfile.write(body)

    def fail(self, to: BaseHTTPRequestHandler) -> None:
        """Answer 500."""
        self.answer(to, 500)

    def lie(self, to: BaseHTTPRequestHandler) -> None:
        """Answer another price."""
        self.answer(to, price=6)

    def hang(self, to: BaseHTTPRequestHandler) -> None:
        """Answer once it is let go."""
        self.let_go.wait(SECONDS)
        self.answer(to)

    def trickle(self, to: BaseHTTPRequestHandler) -> None:
        """Begin to answer, and end once it is let go."""
        to.send_response(200)
        to.send_header("content-length", "2")
        to.send_header("x-side", self.label)
        to.end_headers()
        to.wfile.flush()
        self.let_go.wait(SECONDS)
        to.wfile.write(b"{}")

    def dawdle(self, to: BaseHTTPRequestHandler) -> None:
        """Answer well, and late."""
        self.let_go.wait(_LATE_SECONDS)
        self.answer(to)

    def flood(self, to: BaseHTTPRequestHandler) -> None:
        """Answer 100 MB."""
        to.send_response(200)
        to.send_header("content-length", str(100 * len(_CHUNK)))
        to.send_header("x-side", self.label)
        to.end_headers()
        for _ in range(100):
            to.wfile.write(_CHUNK)

    def asked_for(self, route: str) -> list[float]:
        """When it was asked for *route*."""
        return [when for when, each in self.asked if each == route]

    def stop(self) -> None:
        """Stop it."""
        self.let_go.set()
        self._server.shutdown()
        self._server.server_close()
        join_all([self._thread])


class Visitor:
    """Somebody who asks for one route, with *headers* that tell who it is; and where it was."""

    def __init__(self, fleet: Fleet, route: str, headers: Mapping[str, str]) -> None:
        self.route = route
        self.headers = dict(headers)
        self.sides: list[str] = []  # that answered, each change of them
        self.count = 0
        self._fleet = fleet

    def ask(self) -> int:
        """Ask once; the status."""
        connection = http.client.HTTPConnection("127.0.0.1", self._fleet.world.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", f"/{self.route}/", headers=self.headers)
            answer = connection.getresponse()
            answer.read()
        side = answer.getheader("x-side") or ""
        if side and (not self.sides or self.sides[-1] != side):
            self.sides.append(side)
        self.count += 1
        return answer.status


class Fleet:
    """A world whose routes move from `old` to `new` as *stories* say, by name of the route."""

    def __init__(self, world: World, stories: Mapping[str, Mapping[str, Any]]) -> None:
        self.world = world
        self.old, self.new = Side("old"), Side("new")
        services = {each.label: {"addresses": [each.address]} for each in (self.old, self.new)}
        services["gone"] = {"addresses": [f"127.0.0.1:{free_port()}"]}  # nobody listens
        compared = {
            "candidate": "new",
            "side_effects": "none",
            "ask_twice": "0%",
            "rules": [{"path": "header:x-side", "because": "says who answered"}],
        }
        plans = {name: {**_PLAN, "route": name, **it} for name, it in stories.items()}
        self.sections: dict[str, Any] = {
            "services": services,
            "routes": {
                name: {"path": f"/{name}/*", "to": {"old": 100, it["to"]: 0}}
                for name, it in plans.items()
            },
            "migrations": plans,
            "compare": {name: compared for name, it in stories.items() if "shadow" in it["stages"]},
        }
        world.write(world.configuration(**self.sections))
        world.start()

    def order(self, name: str, order: str, **body: Any) -> dict[str, Any]:
        """Order it, and wait until Envoy has what follows."""
        path = f"/v1/migrations/{name}/{order}"
        found = self.world.api.call("POST", path, body, query={"wait": "applied"})
        assert isinstance(found, dict)
        return found

    def shown(self, name: str) -> dict[str, Any]:
        """How far it is."""
        found = self.world.api.get(f"/v1/migrations/{name}")
        assert isinstance(found, dict)
        return found

    def history(self, name: str) -> list[dict[str, Any]]:
        """What happened to it."""
        found = self.world.api.get(f"/v1/migrations/{name}/history")
        assert isinstance(found, list)
        return found

    def wait_phase(self, name: str, phase: str, *visitors: Visitor) -> dict[str, Any]:
        """The migration once it is in *phase*, while *visitors* ask."""

        def there() -> dict[str, Any] | None:
            for each in visitors:
                each.ask()
            found = self.shown(name)
            return found if found["phase"] == phase else None

        found = wait_until(there, f"{name} is {phase}: it is {self.shown(name)}")
        assert isinstance(found, dict)
        return found

    def edit(self, migrations: Mapping[str, Any]) -> None:
        """Write other *migrations* into moreton.yaml, and wait until they are known."""
        self.world.write(self.world.configuration(**{**self.sections, "migrations": migrations}))

        def known() -> bool:
            planned = self.world.api.get("/v1/migrations")
            return migrations.keys() <= {each["name"] for each in planned}

        wait_until(known, f"{list(migrations)} are known: {self.world.log()[-2000:]}")

    def kill(self) -> None:
        """SIGKILL to the control plane; Envoy goes on."""
        assert self.world.stop(signal.SIGKILL) == -signal.SIGKILL

    def end(self) -> None:
        """Leave nothing running."""
        self.old.let_go.set()
        self.new.let_go.set()
        self.world.end()
        self.old.stop()
        self.new.stop()


_PLAN: Mapping[str, Any] = {
    "from": "old",
    "to": "new",
    "hold": "1h",
    "requests": 0,
    "soak": "0",
    "answer_within": "0",
    "gates": {
        "errors": {"tolerance": "20%"},
        "latency": None,
        "differences": {"tolerance": "20%"},
    },
}


@contextlib.contextmanager
def fleet_in(folder: Path, stories: Mapping[str, Mapping[str, Any]]) -> Iterator[Fleet]:
    """A fleet in *folder* that leaves nothing running."""
    with world_in(folder) as world:
        fleet = Fleet(world, stories)
        try:
            yield fleet
        finally:
            fleet.end()
