"""How long a real Envoy waits for a request's head, and for what comes after it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from moreton.config.words import read_path
from moreton.gateway.compile import GatewayCompiler, http
from moreton.gateway.core.model import (
    Address,
    Destination,
    Gateway,
    Listener,
    Route,
    RouteMatch,
    Service,
)
from support.static_envoy import StaticEnvoy, static_envoy

pytestmark = pytest.mark.e2e

# Less than the default, for the tests' sake; nothing here takes as long by itself.
HEAD_SECONDS = 1.5
SECONDS_MAX = 20
DROPS_MAX = 100
_HEADERS, _RST_STREAM, _SETTINGS = 1, 3, 4
# GET http://a.test/, of which a frame is to follow that never comes.
_HALF_A_HEAD_OF_HTTP2 = b"\x82\x84\x86\x41\x06a.test"


@dataclass
class World:
    envoy: StaticEnvoy
    answer: threading.Event  # the service answers once this is set

    def connect(self, first: bytes) -> socket.socket:
        made = socket.create_connection(
            ("127.0.0.1", self.envoy.ports["public/0"]), timeout=SECONDS_MAX
        )
        made.sendall(first)
        return made


@contextlib.contextmanager
def patient_server(answer: threading.Event) -> Iterator[int]:
    """Takes one request after another, each on a connection of its own; its port."""

    def talk(connection: socket.socket) -> None:
        with connection:
            asked = b""
            while not asked.endswith((b"\r\n\r\n", b"!")) and (part := connection.recv(4096)):
                asked += part
            if asked and answer.wait(SECONDS_MAX):
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=talk, args=(listening.accept()[0],)).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(listening.getsockname()[1])
        finally:
            answer.set()
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(SECONDS_MAX)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(http, "_HEAD_TIMEOUT", timedelta(seconds=HEAD_SECONDS))
    answer = threading.Event()
    with patient_server(answer) as port:
        compiler = GatewayCompiler()
        compiler.put_gateway(Gateway("public", (Listener(Address("127.0.0.1", 0)),)))
        compiler.put_service(Service("patient", addresses=(Address("127.0.0.1", port),)))
        to = (Destination("patient"),)
        compiler.put_route(Route("patient", RouteMatch(read_path("/*")), to=to))
        changed, _ = compiler.take()
        with static_envoy(changed) as envoy:
            yield World(envoy, answer)


def frame(kind: int, stream: int, body: bytes = b"") -> bytes:
    """A frame of HTTP/2 without flags (RFC 9113, section 4.1)."""
    return len(body).to_bytes(3, "big") + bytes([kind, 0]) + stream.to_bytes(4, "big") + body


def kinds_of(connection: socket.socket, stream: int) -> Iterator[int]:
    """Of the frames that come for *stream*, until the other side closes."""
    with connection.makefile("rb") as received:
        while len(head := received.read(9)) == 9:
            received.read(int.from_bytes(head[:3], "big"))
            if int.from_bytes(head[5:], "big") == stream:
                yield head[3]


def answer_to_drops(connection: socket.socket, drop: bytes) -> bytes:
    """The first that comes; until then a *drop* is sent again and again."""
    connection.settimeout(HEAD_SECONDS / 10)
    for _ in range(DROPS_MAX):
        with contextlib.suppress(TimeoutError):
            return connection.recv(4096)
        connection.sendall(drop)
    raise AssertionError("every drop was taken, and none answered")


def test_head_that_does_not_end_is_given_up_and_what_has_one_goes_on(world: World) -> None:
    head = b"GET / HTTP/1.1\r\nhost: a.test\r\n"
    upload = b"POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1\r\n\r\n"
    half_of_http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    half_of_http2 += frame(_SETTINGS, 0) + frame(_HEADERS, 1, _HALF_A_HEAD_OF_HTTP2)
    with (
        world.connect(head + b"\r\n") as waiting,
        world.connect(upload) as sending,
        world.connect(head) as slow,
        world.connect(half_of_http2) as slow_too,
    ):
        assert answer_to_drops(slow, b"x: y\r\n").startswith(b"HTTP/1.1 408 ")
        assert next(kinds_of(slow_too, 1)) in {_HEADERS, _RST_STREAM}
        # By now these two have been as silent for longer than a head may be.
        world.answer.set()
        assert waiting.recv(4096).startswith(b"HTTP/1.1 200 ")
        sending.sendall(b"!")
        assert sending.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert world.envoy.stats("downstream_rq_idle_timeout") == {
        "http.public.downstream_rq_idle_timeout": 2
    }
