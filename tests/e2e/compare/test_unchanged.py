"""That a route is copied changes nothing that the application gets, and nothing of its answers."""

from __future__ import annotations

import contextlib
import queue
import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from moreton.envoy.core.copies import Shown
from moreton.gateway.core.model import Copies
from support.fronted import showing
from support.shown_requests import listening
from support.static_envoy import static_envoy
from support.waits import SECONDS, join_all

pytestmark = pytest.mark.e2e
METHODS = frozenset({"GET", "HEAD", "POST"})
# What is another in each request; the rest is the same, to the byte.
OWN = re.compile(
    rb"(?<=x-request-id: )[0-9a-f-]{36}|(?<=x-envoy-upstream-service-time: )\d+|(?<=date: )[^\r]+"
)
HEAD = b"Host: shop.example\r\nCookie: a=1\r\nCookie: b=\xe9\r\nX-Odd:  v \r\nX-Empty:\r\n"
LARGE = b"y" * 300_000
REQUESTS = {
    "GET": b"GET /a?b=%20c HTTP/1.1\r\n" + HEAD + b"\r\n",
    "HEAD": b"HEAD /a HTTP/1.1\r\n" + HEAD + b"\r\n",
    "a body": b"POST /a HTTP/1.1\r\n" + HEAD + b"Content-Length: 3\r\n\r\n\x00\xff1",
    "a large body": b"POST /a HTTP/1.1\r\n" + HEAD + b"Content-Length: 300000\r\n\r\n" + LARGE,
    "a body in parts": b"POST /parts HTTP/1.1\r\n"
    + HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
}
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class Shop(socketserver.ThreadingTCPServer):
    """Writes down what came over each connection; answers by what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.came: list[bytes] = []


class Handler(socketserver.StreamRequestHandler):
    server: Shop

    def handle(self) -> None:
        mine = len(self.server.came)
        self.server.came.append(b"")
        while head := self.head():
            body = self.body(head)
            self.server.came[mine] += head + body
            self.wfile.write(b"HTTP/1.1 203 Odd\r\nset-cookie: a=1\r\nSet-Cookie: b=\xe9\r\n")
            if head.startswith(b"POST /parts"):
                self.wfile.write(
                    b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"
                )
                continue
            self.wfile.write(b"content-length: %d\r\n\r\n" % len(LARGE))
            if not head.startswith(b"HEAD"):
                self.wfile.write(LARGE)

    def head(self) -> bytes:
        lines = b""
        while line := self.rfile.readline():
            lines += line
            if line == b"\r\n":
                break
        return lines

    def body(self, head: bytes) -> bytes:
        if b"transfer-encoding: chunked" in head.lower():
            parts = b""
            while not parts.endswith(b"0\r\n\r\n"):
                parts += self.rfile.readline()
            return parts
        length = LENGTH.search(head)
        return self.rfile.read(int(length[1])) if length else b""


@contextlib.contextmanager
def served() -> Iterator[Shop]:
    with Shop() as shop:
        thread = threading.Thread(target=shop.serve_forever, args=[0.02])
        thread.start()
        try:
            yield shop
        finally:
            shop.shutdown()
            join_all([thread])


def exchanged(folder: Path, name: str, *, copied: bool) -> tuple[list[bytes], bytes]:
    """What came to the application, and what to the user, of two requests."""
    shown: queue.Queue[Shown] = queue.Queue()
    lost: list[str] = []
    with served() as shop, listening(shown.put, lost.append, folder / "copies.sock"):
        compiler = showing(folder / "copies.sock", shop.server_address[1], Copies(METHODS))
        compiler.put_copied("all", float(copied))
        with static_envoy(compiler.take()[0]) as envoy:
            answer = b"".join(asked(envoy.ports["public/0"], REQUESTS[name]) for _ in range(2))
            for _ in range(2 * copied):
                assert shown.get(timeout=SECONDS).status == 203
    assert shown.empty()
    assert not lost
    return [OWN.sub(b"-", came) for came in shop.came], OWN.sub(b"-", answer)


def asked(port: int, request: bytes) -> bytes:
    """All that comes back, of a connection that is closed after this request."""
    head, end, rest = request.partition(b"\r\n\r\n")
    with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
        connection.sendall(head + b"\r\nConnection: close" + end + rest)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("name", REQUESTS)
def test_a_copied_request_and_its_answer_are_what_they_are_without(
    tmp_path: Path, name: str
) -> None:
    came, answer = exchanged(tmp_path, name, copied=True)
    assert (came, answer) == exchanged(tmp_path, name, copied=False)
    assert len(came) == 1, "the second came over the same connection"
    assert answer.count(b"HTTP/1.1 203 ") == 2
