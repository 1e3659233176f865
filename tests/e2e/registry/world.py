"""A registry that can go away and come back, served by uvicorn on a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response

from moreton.controlplane.api_instances import instances_router
from moreton.controlplane.problems import install_problems, problem
from moreton.registry import Registry
from moreton.store import open_store
from support.waits import wait_until

TOKEN = "made-up"
PATIENCE_SECONDS = 30.0


@dataclass(slots=True)
class RegistryServer:
    """Stopping it drops its store: a registry that comes back remembers nothing."""

    port: int = 0
    requests: list[str] = field(default_factory=list)
    _server: uvicorn.Server | None = None
    _thread: threading.Thread | None = None
    _registry: Registry | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        ready = threading.Event()
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, args=(listener, ready))
        self._thread.start()
        assert ready.wait(PATIENCE_SECONDS)

    def stop(self) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.should_exit = True
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()

    def instances(self, service: str = "catalogue") -> list[dict[str, Any]]:
        assert self._registry is not None
        assert self._loop is not None
        found = asyncio.run_coroutine_threadsafe(self._registry.instances(service), self._loop)
        return [
            {"id": each.id, "address": each.address, "port": each.port, "weight": each.weight}
            for each in found.result(PATIENCE_SECONDS).instances
        ]

    def forget(self, instance_id: str) -> None:
        """What happens when a lease ended unseen: the registry knows nothing of it."""
        assert self._registry is not None
        assert self._loop is not None
        ended = self._registry.deregister("catalogue", instance_id)
        asyncio.run_coroutine_threadsafe(ended, self._loop).result(PATIENCE_SECONDS)

    def wait_instances(self, count: int, service: str = "catalogue") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = self.instances(service)
            return len(found) == count

        wait_until(there, f"{count} instances of {service}")
        return found

    def wait_requests(self, request: str, count: int) -> None:
        wait_until(lambda: self.requests.count(request) >= count, f"{count} times {request}")

    def _serve(self, listener: socket.socket, ready: threading.Event) -> None:
        asyncio.run(self._serve_until_stopped(listener, ready))

    async def _serve_until_stopped(self, listener: socket.socket, ready: threading.Event) -> None:
        store = open_store("memory:")
        self._loop = asyncio.get_running_loop()
        self._registry = Registry(store)
        app = self._application(self._registry)
        config = uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        listener.listen()
        ready.set()
        await self._server.serve([listener])
        listener.close()
        await store.close()

    def _application(self, registry: Registry) -> FastAPI:
        app = FastAPI()
        install_problems(app)
        app.include_router(instances_router(registry))

        @app.middleware("http")
        async def check(request: Request, following: Callable[[Request], Any]) -> Response:
            self.requests.append(f"{request.method} {request.url.path}")
            if request.headers.get("authorization") != f"Bearer {TOKEN}":
                return problem(401, "unauthorized", "the token is wrong; send the right one")
            answer: Response = await following(request)
            return answer

        return app


@dataclass(slots=True)
class Programs:
    """Starts programs, and ends at last what a test left running."""

    server: RegistryServer
    folder: Path
    _running: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *command: str, **environment: str) -> Program:
        """Run a command that finds the registry by its environment."""
        output = self.folder / f"output-{len(self._running)}"
        with output.open("w") as file:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={
                    **os.environ,
                    "MORETON_API": self.server.url,
                    "MORETON_TOKEN": TOKEN,
                    "PYTHONUNBUFFERED": "1",
                    **environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self._running.append(process)
        return Program(process, output)

    def run(self, options: Sequence[str], *command: str, service: str = "catalogue") -> Program:
        """`moreton run`."""
        moreton = [sys.executable, "-m", "moreton.cli.main", "run", "--service", service]
        return self.start(*moreton, *options, "--", *command)

    def script(self, text: str) -> str:
        """A Python file in the folder of the programs."""
        path = self.folder / f"script-{len(list(self.folder.iterdir()))}.py"
        path.write_text(dedent(text))
        return str(path)

    def end(self) -> None:
        for process in self._running:
            for pid in (*children(process.pid), process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait(PATIENCE_SECONDS)


@dataclass(slots=True)
class Program:
    """A running program and what it said."""

    process: subprocess.Popen[str]
    output: Path

    def said(self) -> str:
        return self.output.read_text()

    def wait(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)

    def child(self) -> int:
        """The pid of the program that a runner runs."""
        found: int = wait_until(lambda: next(iter(children(self.process.pid)), None), "a child")
        return found

    def wait_said(self, text: str) -> None:
        wait_until(lambda: text in self.said(), f"{text!r} in the output {self.said()!r}")


def children(pid: int) -> list[int]:
    found = subprocess.run(
        ["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False, timeout=30
    )
    return [int(word) for word in found.stdout.split()]
