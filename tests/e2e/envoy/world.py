"""What the tests of Envoy's process share: resources to serve, a slow backend, a supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)
from google.protobuf import json_format

from moreton.envoy.binary import find_envoy
from moreton.envoy.core.resources import Resource, ResourceKey, Snapshot, TypeUrl
from moreton.envoy.identity import identify
from moreton.envoy.process.folder import EnvoyFolder
from moreton.envoy.supervisor import EnvoySupervisor
from moreton.envoy.wire import content_hash, serialize
from moreton.envoy.xds import XdsServer
from support.waits import line_of, pauses

GROUP = "tests"
DEADLINE_SECONDS = 30.0
_LOADED = (http_connection_manager_pb2, router_pb2)  # JSON names their messages
_PREFIX = "type.googleapis.com/envoy.extensions.filters"
_MANAGER = f"{_PREFIX}.network.http_connection_manager.v3.HttpConnectionManager"


def binary() -> Path:
    """The Envoy that comes with Moreton."""
    return find_envoy(None)


def listener(port: int, says: str) -> dict[str, Any]:
    """`/who` answers *says*; everything else goes to the cluster `backend`."""
    who = {"status": 200, "body": {"inline_string": says}}
    routes = [
        {"match": {"path": "/who"}, "direct_response": who},
        {"match": {"prefix": "/"}, "route": {"cluster": "backend", "timeout": "0s"}},
    ]
    manager = {
        "@type": _MANAGER,
        "stat_prefix": "public",
        "route_config": {"virtual_hosts": [{"name": "a", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_PREFIX}.http.router.v3.Router"},
            }
        ],
    }
    return {
        "name": "public",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def cluster(port: int) -> dict[str, Any]:
    """The cluster `backend` with one endpoint."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {
        "name": "backend",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "backend", "endpoints": endpoints},
    }


def snapshot(port: int, backend: int, says: str = "dynamic") -> Snapshot:
    """Both as what the xDS server publishes."""
    made = [
        (
            TypeUrl.CLUSTER,
            "backend",
            json_format.ParseDict(cluster(backend), cluster_pb2.Cluster()),
        ),
        (
            TypeUrl.LISTENER,
            "public",
            json_format.ParseDict(listener(port, says), listener_pb2.Listener()),
        ),
    ]
    return Snapshot().changed(
        Resource(ResourceKey(kind, name), content_hash(serialize(message)), serialize(message))
        for kind, name, message in made
    )


def static(port: int, backend: int, says: str = "last good") -> bytes:
    """Both as one static bootstrap."""
    resources = {"listeners": [listener(port, says)], "clusters": [cluster(backend)]}
    return json.dumps({"static_resources": resources}).encode()


async def wait_until(condition: Callable[[], Awaitable[Any]], what: str) -> Any:
    """The first truthy value of *condition*; fails with *what* after the deadline."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            pausing = pauses()
            while not (found := await condition()):
                await asyncio.sleep(next(pausing))
            return found
    except TimeoutError:
        raise AssertionError(f"not within {DEADLINE_SECONDS} s: {what}") from None


async def another(supervisor: EnvoySupervisor, before: int) -> None:
    """Return once an Envoy is ready that is not the process *before*."""

    async def is_another() -> bool:
        found = supervisor.statistics()
        return found.ready and found.pid not in {before, None}

    await wait_until(is_another, "another Envoy is ready")


async def ask(port: int, path: str = "/who") -> str | None:
    """The body that the gateway answers over a new connection; `None` when it cannot be reached."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return None
    with contextlib.closing(writer):
        writer.write(f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
        answer = (await reader.read()).decode()
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 "), answer
    return body


class Backend:
    """Answers `done`, but a request for `/slow` only when it is told to."""

    def __init__(self) -> None:
        self.port = 0
        self.slow = asyncio.Event()  # one is under way
        self.finish = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening; what is open is left to end with the loop."""
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError, ConnectionError), contextlib.closing(writer):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b" /slow " in head:
                    self.slow.set()
                    await self.finish.wait()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")


@dataclass(slots=True)
class World:
    """A folder for one Envoy, the port that it serves, its backend."""

    folder: Path
    port: int
    backend: Backend

    def supervisor(self, **settings: Any) -> EnvoySupervisor:
        """A supervisor of this process."""
        usual = {"binary": binary(), "concurrency": 1, "drain_time": timedelta(seconds=3)}
        return EnvoySupervisor(self.folder, group=GROUP, **{**usual, **settings})

    @contextlib.asynccontextmanager
    async def control_plane(
        self, *, says: str = "dynamic", **settings: Any
    ) -> AsyncIterator[EnvoySupervisor]:
        """An xDS server and a supervisor whose Envoy is ready; both end with the block."""
        supervisor = self.supervisor(**settings)
        async with xds_for(supervisor, snapshot(self.port, self.backend.port, says)):
            await supervisor.start()
            try:
                await supervisor.wait_ready()
                yield supervisor
            finally:
                await supervisor.stop()

    def spawn(self) -> Spawned:
        """A control plane in a process of its own, which may be killed."""
        script = Path(__file__).with_name("supervise.py")
        arguments = [str(self.folder), str(self.port), str(self.backend.port)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        child = subprocess.Popen(
            [sys.executable, str(script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        return Spawned(child)

    def end(self) -> None:
        """Kill whatever Envoy is left."""
        for file in (self.folder / "envoy.json", *self.folder.glob("old-*.json")):
            with contextlib.suppress(OSError, ValueError):
                pid = json.loads(file.read_text())["pid"]
                # Only what still is an Envoy: a test may have written another's pid there.
                if b"envoy" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]:
                    os.kill(pid, signal.SIGKILL)
        EnvoyFolder(self.folder).remove_sockets()


@dataclass(slots=True)
class Spawned:
    """A control plane in a process of its own."""

    child: subprocess.Popen[str]

    def ready(self) -> dict[str, Any]:
        """Its supervisor's statistics, once its Envoy is ready."""
        line = line_of(self.child.stdout, "its Envoy is ready")
        assert line, f"it ended: {self.child.wait(DEADLINE_SECONDS)}"
        found = json.loads(line)
        assert isinstance(found, dict)
        return found

    def kill(self) -> None:
        """SIGKILL."""
        self.child.kill()
        self._close()

    def say(self, word: str) -> None:
        """`stop` or `detach`; returns once it has ended."""
        assert self.child.stdin is not None
        self.child.stdin.write(f"{word}\n")
        self.child.stdin.flush()
        self._close()
        assert self.child.returncode == 0

    def _close(self) -> None:
        self.child.wait(DEADLINE_SECONDS)
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe is not None:
                pipe.close()


@contextlib.asynccontextmanager
async def xds_for(supervisor: EnvoySupervisor, published: Snapshot) -> AsyncIterator[XdsServer]:
    """An xDS server where *supervisor*'s Envoy looks for it."""
    server = XdsServer()
    server.publish(GROUP, published)
    await server.start(f"unix:{supervisor.xds_socket}")
    try:
        yield server
    finally:
        await server.stop()


def is_running(pid: int) -> bool:
    """Whether *pid* is a process of which some thread has not ended."""
    return identify(pid) is not None


def seconds_since(began: float) -> float:
    """How long ago *began* was, of `time.monotonic`."""
    return time.monotonic() - began
