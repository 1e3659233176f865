"""A real HTTP server that webhooks are sent to, and that behaves as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from support.waits import SECONDS, join_all


@dataclass(frozen=True)
class Received:
    """One request: its headers with lower-case names, its body, and how it was answered."""

    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Receiver:
    """Answers *statuses* one after the other, then 204; while *held* it answers nothing."""

    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    port: int = 0
    received: list[Received] = field(default_factory=list)
    open: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.open.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.open.wait(SECONDS)
                status = outer.statuses.pop(0) if outer.statuses else 204
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.received.append(Received(headers, body, status))
                self.send_response(status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A sender that had no patience is gone."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=secret"

    @property
    def taken(self) -> list[dict[str, Any]]:
        """The events that were answered with success."""
        return [each.event for each in list(self.received) if each.status < 300]

    def kinds(self) -> list[str]:
        """Of what kind those are."""
        return [each["type"].removeprefix("moreton.migration.") for each in self.taken]

    def stop(self) -> None:
        self.open.set()
        self._server.shutdown()
        self._server.server_close()
        join_all([self._thread])


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """The first truthy value of *condition*."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.005)
    raise AssertionError(f"not within {SECONDS:g} s: {what}")
