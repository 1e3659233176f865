"""What a real Envoy shows of a request and its answer is what they were."""

from __future__ import annotations

import http.client
import http.server
import os
import queue
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest

from moreton.envoy.core.copies import BODY_BYTES_MAX, Shown
from moreton.gateway.core.model import Copies
from support.fronted import showing
from support.shown_requests import listening
from support.static_envoy import StaticEnvoy, static_envoy

pytestmark = pytest.mark.e2e
SECONDS = 30
# Each a little more than a MiB where they are kept: there is room for 64 MiB of them.
UNDER_WAY = 80
HELD_MIN, HELD_MAX = 40, 64
BODIES = {
    "/text": b'{"name": "Zo\xc3\xab"}',
    "/no-text": b"\xff\xfe\x80 and more",
    "/nul": b"\x1f\x8b\x08\x00\x00 packed \x00",
    "/lines": b"\n\n1\n\n",
    "/empty": b"",
    "/all-that-is-kept": b"x" * BODY_BYTES_MAX,
    "/more": b"y" * (BODY_BYTES_MAX + 1),
}
FIELDS = [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x-empty", ""), ("x-odd", "\xe9:\xff")]

LAST_BYTE = threading.Semaphore(0)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self) -> None:
        if self.path == "/all-but-a-byte":
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % BODY_BYTES_MAX)
            # Each another: Lua keeps what is the same to the byte once.
            self.wfile.write(os.urandom(BODY_BYTES_MAX // 2).hex().encode()[1:])
            self.wfile.flush()
            LAST_BYTE.acquire(timeout=SECONDS)
            self.wfile.write(b"z")
            return
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = BODIES[self.path.partition("?")[0]]
        self.send_response(203)
        for name, value in (*FIELDS, ("content-length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def shop() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(SECONDS)


@pytest.fixture(scope="module")
def seen() -> queue.Queue[Shown]:
    return queue.Queue()


@pytest.fixture(scope="module")
def lost() -> list[str]:
    return []


@pytest.fixture(scope="module")
def envoy(
    tmp_path_factory: pytest.TempPathFactory, seen: queue.Queue[Shown], lost: list[str]
) -> Iterator[StaticEnvoy]:
    socket = tmp_path_factory.mktemp("shown") / "copies.sock"
    copies = Copies(frozenset({"GET", "HEAD", "POST"}))
    with (
        shop() as port,
        listening(seen.put, lost.append, socket),
        static_envoy(showing(socket, port, copies).take()[0]) as envoy,
    ):
        yield envoy


@pytest.fixture
def ask(envoy: StaticEnvoy, seen: queue.Queue[Shown]) -> Callable[..., tuple[bytes, Shown]]:
    def asked(path: str, method: str = "GET", body: bytes | None = None) -> tuple[bytes, Shown]:
        port = envoy.ports["public/0"]
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as connection:
            fields = {"x-asked": "\xe9", "cookie": "a=1"}
            connection.request(method, path, body, fields)
            answer = connection.getresponse().read()
        return answer, seen.get(timeout=SECONDS)

    return asked


@pytest.mark.parametrize("path", BODIES)
def test_an_answer_is_shown_byte_by_byte(
    ask: Callable[..., tuple[bytes, Shown]], path: str
) -> None:
    answer, shown = ask(f"{path}?page=1")
    assert answer == BODIES[path], "the user got all of it"
    assert shown.answer_body == answer[:BODY_BYTES_MAX]
    assert shown.answer_complete is (len(answer) <= BODY_BYTES_MAX)
    assert (shown.route, shown.service, shown.status) == ("all", "shop", 203)
    assert (shown.method, shown.target) == ("GET", f"{path}?page=1")
    assert [pair for pair in shown.answer_headers if pair in FIELDS] == FIELDS
    assert shown.header("x-asked") == "\xe9"
    assert shown.host.startswith("127.0.0.1")


@pytest.mark.parametrize("path", BODIES)
def test_so_is_the_body_of_a_request(ask: Callable[..., tuple[bytes, Shown]], path: str) -> None:
    sent = BODIES[path]
    _, shown = ask("/text", "POST", sent)
    assert (shown.method, shown.body) == ("POST", sent[:BODY_BYTES_MAX])
    assert shown.body_complete is (len(sent) <= BODY_BYTES_MAX)


def test_an_answer_without_a_body_is_shown(ask: Callable[..., tuple[bytes, Shown]]) -> None:
    _, shown = ask("/text", "HEAD")
    assert (shown.method, shown.answer_body, shown.answer_complete) == ("HEAD", b"", True)


def test_answers_under_way_are_held_up_to_a_bound_and_the_others_told_of(
    envoy: StaticEnvoy,
    seen: queue.Queue[Shown],
    lost: list[str],
) -> None:
    assert not lost
    port = envoy.ports["public/0"]
    with ExitStack() as stack:
        answers, bodies = [], []
        for _ in range(UNDER_WAY):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
            stack.enter_context(closing(connection)).request("GET", "/all-but-a-byte")
            answers.append(connection.getresponse())
            bodies.append(answers[-1].read(BODY_BYTES_MAX - 1))
        # One after the other: of many at once, the access log would drop what is too much.
        for number in range(1, UNDER_WAY + 1):
            LAST_BYTE.release()
            end = time.monotonic() + SECONDS
            while seen.qsize() + len(lost) < number:
                assert time.monotonic() < end, "neither shown nor told of"
                time.sleep(0.002)
        assert [answer.read() for answer in answers] == [b"z"] * UNDER_WAY
    held = [seen.get_nowait().answer_body for _ in range(seen.qsize())]
    assert set(held) < {body + b"z" for body in bodies}
    assert HELD_MIN <= len(held) <= HELD_MAX
    assert lost == ["all"] * (UNDER_WAY - len(held)), "and those are told of"
