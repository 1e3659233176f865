"""What an Envoy shows goes to the collector at once: it is not cut, and nobody is waited for."""

from __future__ import annotations

import contextlib
import functools
import http.server
import queue
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from moreton.envoy.core.copies import Shown
from moreton.gateway.core.model import Copies
from support.asking import ask
from support.fronted import showing
from support.shown_requests import listening
from support.static_envoy import static_envoy
from support.waits import SECONDS, join_all

pytestmark = pytest.mark.e2e
# More than HTTP/2 lets anybody send at first, and far more than it lets a frame be.
LARGE = b"y" * 200_000
PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
HEAD, DATA = 9, 0


class Files(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[int]:
    handler = functools.partial(Files, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            join_all([thread])


@contextlib.contextmanager
def overheard(place: Path, beyond: Path) -> Iterator[bytearray]:
    """What the first one who connects to *place* says to who listens at *beyond*."""
    said = bytearray()

    def carry(source: socket.socket, to: socket.socket, *, note: bool) -> None:
        with contextlib.suppress(OSError):
            while part := source.recv(65536):
                to.sendall(part)
                if note:
                    said.extend(part)

    def both() -> None:
        near, _ = listener.accept()
        with near, socket.socket(socket.AF_UNIX) as far:
            far.connect(str(beyond))
            back = threading.Thread(target=carry, args=[far, near], kwargs={"note": False})
            back.start()
            carry(near, far, note=True)
            far.shutdown(socket.SHUT_RDWR)
            join_all([back])

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()
        thread = threading.Thread(target=both)
        thread.start()
        yield said
        join_all([thread])


def data_frames(said: bytes) -> list[int]:
    """The sizes of the frames that carry something (RFC 9113, section 4.1)."""
    found, at = [], PREFACE
    while at + HEAD <= len(said):
        size = int.from_bytes(said[at : at + 3], "big")
        if said[at + 3] == DATA:
            found.append(size)
        at += HEAD + size
    return found


def test_a_sample_is_one_frame(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(LARGE)
    shown: queue.Queue[Shown] = queue.Queue()
    lost: list[str] = []
    places = tmp_path / "copies.sock", tmp_path / "collector.sock"
    with (
        served(tmp_path) as port,
        listening(shown.put, lost.append, places[1]),
        overheard(*places) as said,
        static_envoy(showing(places[0], port, Copies(frozenset({"GET"}))).take()[0]) as envoy,
    ):
        for _ in range(2):  # the first comes before Envoy knows what the collector can take
            assert ask(envoy.ports["public/0"], "GET", "/large").body == LARGE
            assert shown.get(timeout=SECONDS).answer_body == LARGE
    assert not lost
    assert data_frames(bytes(said))[-1] > len(LARGE)
