"""A `moreton up` with real programs as instances, which can be killed, stopped and let go on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from textwrap import dedent
from typing import Any

from e2e.up.world import World
from moreton.envoy.admin import AdminClient
from moreton.envoy.process.folder import EnvoyFolder
from support.ports import free_port
from support.waits import wait_until

_RENEWED_EACH = 25
PROGRAM = dedent(
    """
    import os, sys
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536  # an answer is one write: killed, it has begun none

        def do_GET(self):
            body = b"fine"
            is_bad = self.path != "/health" and os.path.exists("bad-" + os.environ["PORT"])
            self.send_response(503 if is_bad else 200)
            self.send_header("content-length", str(len(body)))
            self.send_header("x-served-by", os.environ["PORT"])
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
    server.daemon_threads = True
    if len(sys.argv) > 1:
        import moreton.registry

        moreton.registry.register(
            sys.argv[1], port=server.server_port, ttl=os.environ["TTL"], id=f"i{server.server_port}"
        )
    print("ready", flush=True)
    server.serve_forever()
    """
)


RETRIES = {"attempts": 3, "on": ["connect-failure", "refused-stream", "reset"]}


@dataclass(slots=True)
class Ward:
    """The control plane, and the programs behind it by their ports."""

    world: World
    programs: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def begin(self) -> None:
        """Start the control plane with a service for each kind of instance."""
        (self.world.folder / "program.py").write_text(PROGRAM)
        check = {"http": "/health", "interval": "1s", "failures": 2}
        services = {
            "checked": {"discover": True, "checks": [check]},
            "leased": {"discover": True},
            "listed": {"file": "targets.json"},
            "fixed": {"addresses": [f"127.0.0.1:{self.start()}"], "checks": [check]},
        }
        routes = {
            # What was under way at a killed instance is lost: of a GET it may be asked again.
            name: {"path": f"/{name}/*", "to": name, "retries": RETRIES}
            for name in services
        }
        self.targets()
        self.world.write(self.world.configuration(services=services, routes=routes))
        self.world.start()

    def start(self, service: str = "", ttl: str = "1s") -> int:
        """A program that serves, and registers itself under *service*, if one is given."""
        port = free_port()
        log = self.world.folder / f"program-{port}.log"
        self.world.folder.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self.programs[port] = subprocess.Popen(
                [sys.executable, "program.py", *([service] if service else [])],
                cwd=self.world.folder,
                env={**os.environ, "PORT": str(port), "TTL": ttl},
                stdout=output,
                stderr=output,
            )
        wait_until(lambda: b"ready" in log.read_bytes(), f"the program at {port} serves")
        return port

    def register(self, port: int, **body: Any) -> None:
        """Register the program at *port* by the API."""
        document = {"id": f"i{port}", "address": "127.0.0.1", "port": port, **body}
        self.world.api.call("POST", "/v1/services/checked/instances", document)

    def targets(self, *ports: int) -> None:
        """Let these programs be in the file."""
        places = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
        new = self.world.folder / "targets.new"
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(f'[{{"targets": [{places}]}}]')
        new.replace(self.world.folder / "targets.json")

    def signal(self, number: int, *ports: int) -> float:
        """Send a signal to programs; when that was done."""
        for port in ports:
            self.programs[port].send_signal(number)
        at = time.monotonic()
        if number == signal.SIGKILL:
            for port in ports:
                self.programs[port].wait(30)
        return at

    def instances(self, service: str) -> list[dict[str, Any]]:
        """What the API says of the instances of *service*."""
        found: list[dict[str, Any]] = self.world.api.get(f"/v1/services/{service}/instances")
        return found

    def wait_instances(self, service: str, *states: str) -> list[dict[str, Any]]:
        """Wait until there are so many, in these states."""

        def found() -> tuple[list[dict[str, Any]]] | None:
            there = self.instances(service)
            is_so = sorted(each["state"] for each in there) == sorted(states)
            return (there,) if is_so else None

        wanted: tuple[list[dict[str, Any]]] = wait_until(found, f"{service} is {states}")
        return wanted[0]

    def in_proxy(self, service: str) -> set[int]:
        """The ports that Envoy sends requests of *service* to."""
        folder = EnvoyFolder(self.world.folder / ".moreton" / "envoy")
        admin = AdminClient(folder.admin_socket)
        found = asyncio.run(admin.clusters())
        (cluster,) = [x for x in found["cluster_statuses"] if x["name"] == service]
        return {
            host["address"]["socket_address"]["port_value"]
            for host in cluster.get("host_statuses", [])
        }

    def wait_in_proxy(self, service: str, ports: set[int]) -> float:
        """Wait until Envoy sends to just *ports*; when that was seen."""
        wait_until(lambda: self.in_proxy(service) == ports, f"Envoy has {ports} for {service}")
        return time.monotonic()

    def crowd(self, count: int, ttl: str) -> None:
        """Instances where nothing listens, whose leases end together, so long from now."""
        names: list[str] = []
        for number in range(count):
            document = {"id": f"c{number}", "address": "127.0.0.2", "port": 1 + number, "ttl": ttl}
            self.world.api.call("POST", "/v1/services/leased/instances", document)
            names.append(f"leased/c{number}")
            if len(names) % _RENEWED_EACH == 0 or len(names) == count:
                # On a busy machine the first would end before the last is there.
                said = {"instances": names}
                renewed = self.world.api.call("POST", "/v1/leases/renew", said)["ttls"]
                assert all(renewed.values()), "the first ended before the last was there"

    def forget(self, service: str) -> None:
        """End the programs of *service*, and its instances."""
        for each in self.instances(service):
            with contextlib.suppress(Exception):
                self.world.api.call("DELETE", f"/v1/services/{service}/instances/{each['id']}")

    def end(self) -> None:
        """Leave no program running."""
        for program in self.programs.values():
            program.kill()
            program.wait(30)
