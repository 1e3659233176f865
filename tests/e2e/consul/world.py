"""Consul's API on a port, served by uvicorn on a thread of its own, for programs to talk to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from moreton.controlplane.api.serving.server import serving as serving_http
from moreton.registry.consul import Anonymous
from support.waits import join_all
from unit.registry.consul.asking import TOKEN, serving

PATIENCE_SECONDS = 30.0


@dataclass(slots=True)
class ConsulServer:
    """Serves while its block lasts."""

    port: int = 0
    anonymous: Anonymous = Anonymous.NOTHING
    _stop: Callable[[], object] = lambda: None
    _thread: threading.Thread | None = None
    _ready: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        self.port = listening.getsockname()[1]
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(listening)))
        self._thread.start()
        assert self._ready.wait(PATIENCE_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        assert self._thread is not None
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON that is answered; `None` for an empty answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - http, to ourselves
            f"{self.url}{path}", data, {"x-consul-token": TOKEN}, method=method
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:  # noqa: S310
            text = answer.read()
        return json.loads(text) if text else None

    def register(self, service: str, **more: Any) -> None:
        """An instance, with a check that passes for long."""
        body = {"Name": service, "Port": 8000, "Address": "127.0.0.1", **more}
        self.ask("PUT", "/v1/agent/service/register", body)

    async def _serve(self, listening: socket.socket) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        async with (
            serving(anonymous=self.anonymous) as consul,
            serving_http(consul.api.app, listening, desk=consul.api.quick),
        ):
            self._ready.set()
            await stop.wait()
            consul.api.close()
        listening.close()


@contextlib.contextmanager
def backend(text: str) -> Iterator[int]:
    """An HTTP server that says *text*; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as one:
        thread = threading.Thread(target=one.serve_forever, args=(0.01,))
        thread.start()
        yield one.server_address[1]
        one.shutdown()
        join_all([thread])


@contextlib.contextmanager
def running(command: list[str], log: Path) -> Iterator[None]:
    """A program for as long as the block lasts."""
    with log.open("ab") as output:
        child = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield
    finally:
        child.terminate()
        child.wait(PATIENCE_SECONDS)
