"""A `moreton up` of its own folder, with real backends behind it and a client before it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from moreton.cli.client import Api, ApiUnreachable
from moreton.controlplane.errors import NotRunning
from moreton.envoy.process.folder import EnvoyFolder
from support.ports import free_port
from support.preloaded import Preloaded, run, start
from support.waits import join_all, wait_until

DEADLINE_SECONDS = 30.0
MORETON = [sys.executable, "-m", "moreton.cli.main"]


class Backend:
    """A real HTTP server that says its label, on a port of its own."""

    def __init__(self, label: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = label.encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.send_header("x-served-by", label)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()
        join_all([self._thread])


@dataclass(slots=True)
class World:
    """A folder with a moreton.yaml, and the control plane that runs there."""

    folder: Path
    port: int = field(default_factory=free_port)
    api_port: int = field(default_factory=free_port)
    backends: dict[str, Backend] = field(default_factory=dict)
    child: Preloaded | subprocess.Popen[bytes] | None = None
    # Whether `moreton` is started as users start it, and loads all that it needs.
    loads: bool = False

    def backend(self, label: str) -> str:
        """The address of the backend *label*, started when need be."""
        if label not in self.backends:
            self.backends[label] = Backend(label)
        return self.backends[label].address

    def configuration(self, **sections: Any) -> dict[str, Any]:
        """One gateway, services a and b, one route for everything; *sections* on top."""
        return {
            "version": 1,
            "gateways": {"public": {"listeners": [{"address": f"127.0.0.1:{self.port}"}]}},
            "services": {label: {"addresses": [self.backend(label)]} for label in "ab"},
            "routes": {"everything": {"path": "/*", "to": {"a": 100, "b": 0}}},
            "controlplane": {"api": f"127.0.0.1:{self.api_port}"},
            "envoy": {"concurrency": 1, "drain_time": "2s"},
            **sections,
        }

    def write(self, document: Mapping[str, Any] | str) -> None:
        """Put *document* in place as moreton.yaml, at once."""
        text = (
            document
            if isinstance(document, str)
            else yaml.safe_dump(json.loads(json.dumps(document)))
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "next.yaml.new").write_text(text)
        (self.folder / "next.yaml.new").replace(self.folder / "moreton.yaml")

    def spawn(self, **environment: str) -> None:
        """`moreton up`, not waited for; its output goes to up.log."""
        log = self.folder / "up.log"
        if not self.loads:
            self.child = start(["up"], folder=self.folder, out=log, err=log, **environment)
            return
        with log.open("ab") as log_file:
            self.child = subprocess.Popen(
                [*MORETON, "up"],
                cwd=self.folder,
                stdout=log_file,
                stderr=log_file,
                env={**os.environ, **environment},
            )

    def start(self) -> None:
        """`moreton up`, ready."""
        self.spawn()
        self.wait_ready()

    def wait_ready(self, seconds: float = DEADLINE_SECONDS) -> None:
        """Return once everything is in force, *seconds* from now at the latest."""

        def ready() -> bool:
            assert self.child is not None
            assert self.child.poll() is None, f"moreton up ended:\n{self.log()}"
            with contextlib.suppress(NotRunning, ApiUnreachable):
                api = Api.find(self.folder / "moreton.yaml", waits=False)
                if api.get("/v1/status")["pid"] == self.child.pid:
                    return self.health() == 200
            return False

        wait_until(ready, "moreton up is ready", seconds)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal the control plane; its exit status."""
        assert self.child is not None
        self.child.send_signal(number)
        return self.child.wait(DEADLINE_SECONDS)

    @property
    def api(self) -> Api:
        """A client of the API."""
        return Api.find(self.folder / "moreton.yaml")

    def health(self) -> int:
        """The status that /v1/health answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.api_port, timeout=10)
        with contextlib.closing(connection) as client:
            client.request("GET", "/v1/health")
            return client.getresponse().status

    def ask(self, path: str = "/", **headers: str) -> tuple[int, str]:
        """The status and the body that the gateway answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection) as client:
            client.request(
                "GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()}
            )
            answer = client.getresponse()
            return answer.status, answer.read().decode()

    def api_names(self, kind: str) -> set[str]:
        """The names of the objects that the API lists."""
        return {one["name"] for one in self.api.get(f"/v1/{kind}")}

    def status_of(self, kind: str, name: str) -> dict[str, Any]:
        """The status document of an object."""
        found = self.api.get(f"/v1/{kind}/{name}")["status"]
        assert isinstance(found, dict)
        return found

    def envoy_pid(self) -> int:
        """The process id of the Envoy that runs."""
        return int(self.api.get("/v1/status")["envoy"]["pid"])

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command of `moreton` in the folder."""
        if not self.loads:
            return run(arguments, folder=self.folder, timeout=DEADLINE_SECONDS)
        return subprocess.run(
            [*MORETON, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
        )

    def log(self) -> str:
        """What `moreton up` printed."""
        return (self.folder / "up.log").read_text(errors="replace")

    def end(self) -> None:
        """Stop everything that is left, Envoy included."""
        if self.child is not None and self.child.poll() is None:
            self.stop()
        self._end_envoy()
        for backend in self.backends.values():
            backend.stop()

    def _end_envoy(self) -> None:
        folder = EnvoyFolder(self.folder / ".moreton" / "envoy")
        left = folder.current()
        if left is not None:
            left.identity.send(signal.SIGKILL)
        folder.remove_sockets()  # who was killed could not


@contextlib.contextmanager
def world_in(folder: Path) -> Iterator[World]:
    """A world in *folder* that leaves nothing running."""
    world = World(folder)
    world.write(world.configuration())
    try:
        yield world
    finally:
        world.end()
