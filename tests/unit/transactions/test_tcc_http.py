"""Calls to a participant that is a service: their time limit, their answers, their keys."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from moreton.transactions.barrier import Act, Call
from moreton.transactions.idempotency.core.keys import read_key
from moreton.transactions.tcc import HttpParticipant, Refused
from support.certificates import make_certificate
from support.waits import join_all

CALL = Call("t", "stock", Act.DO)
SHORT = timedelta(milliseconds=400)
# Reads of its own are given more time than all of the call.
_DRIP_SECONDS = SHORT.total_seconds() / 8


class Dripping:
    """A service that says *at once*, then *slowly* a byte at a time, again and again."""

    def __init__(self, at_once: bytes, slowly: bytes = b"") -> None:
        self.at_once, self.slowly = at_once, slowly
        self.heads: list[str] = []
        self.over = threading.Event()
        self.ear = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.ear.getsockname()[1]}"

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._answer(self.ear.accept()[0])

    def _answer(self, line: socket.socket) -> None:
        with line, contextlib.suppress(OSError):
            self.heads.append(line.recv(65536).decode("latin-1"))
            line.sendall(self.at_once)
            while self.slowly and not self.over.wait(_DRIP_SECONDS):
                line.sendall(self.slowly)


@contextlib.contextmanager
def serving(service: Dripping) -> Iterator[Dripping]:
    thread = threading.Thread(target=service.serve)
    thread.start()
    try:
        yield service
    finally:
        service.over.set()
        service.ear.shutdown(socket.SHUT_RDWR)
        service.ear.close()
        join_all([thread])


@pytest.mark.parametrize(
    "at_once", [b"HTTP/1.1 200 OK\r\nx-slow: ", b"HTTP/1.1 "], ids=["head", "first line"]
)
def test_an_answer_that_drips_is_none_when_the_time_is_over(at_once: bytes) -> None:
    with serving(Dripping(at_once, b"2")) as service:
        participant = HttpParticipant(service.url, timeout=SHORT)
        with pytest.raises(TimeoutError, match=f"{service.url}/do did not answer within 400ms"):
            participant(CALL)


def test_a_status_counts_though_its_body_never_ends() -> None:
    done = Dripping(b"HTTP/1.1 200 OK\r\n\r\n", b"x")
    with serving(done):
        HttpParticipant(done.url, timeout=SHORT)(CALL)
    refusing = Dripping(b"HTTP/1.1 409 Conflict\r\n\r\nsold out", b".")
    with serving(refusing), pytest.raises(Refused, match=r"status 409: sold out"):
        HttpParticipant(refusing.url, timeout=SHORT)(CALL)
    cut = Dripping(b"HTTP/1.1 409 Conflict\r\ncontent-length: 90\r\n\r\nsold out")
    with serving(cut), pytest.raises(Refused, match="status 409: sold out"):
        HttpParticipant(cut.url, timeout=SHORT)(CALL)


def test_a_service_that_nobody_vouches_for_is_told_nothing(tmp_path: Path) -> None:
    files = make_certificate(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    service = Dripping(b"HTTP/1.1 200 OK\r\n\r\n")
    service.ear = context.wrap_socket(service.ear, server_side=True)
    with serving(service), pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        HttpParticipant(service.url.replace("http://127.0.0.1", "https://localhost"))(CALL)
    assert service.heads == []


def test_certificates_are_read_once_for_all_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[None] = []
    make = ssl.create_default_context

    def counted(*values: Any, **names: Any) -> ssl.SSLContext:
        read.append(None)
        return make(*values, **names)

    monkeypatch.setattr(ssl, "create_default_context", counted)
    service = Dripping(b"no TLS is spoken here")
    with serving(service):
        for _ in range(3):
            with pytest.raises(httpx.ConnectError):
                HttpParticipant(service.url.replace("http:", "https:"))(CALL)
    assert len(read) <= 1


async def test_a_coroutine_may_ask_and_waits() -> None:
    service = Dripping(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")
    with serving(service), pytest.raises(ConnectionError, match="status 503"):
        HttpParticipant(service.url)(CALL)


def test_keys_are_short_say_what_is_asked_and_tell_every_two_calls_apart() -> None:
    names = [
        ("t", "stock"),
        ("order.17", "stock"),
        ("order", "17.stock"),
        ("t" * 200, "b" * 200),
        ("t" * 200, "b" * 199 + "c"),
        ("größe", "é"),
        ("gr\\xf6\\xdfe", "é"),
        ('"', "'"),
        ("'", '"'),
        ("line\n", "x\ny"),
    ]
    calls = [Call(*each, act) for each in names for act in Act]
    with serving(Dripping(b"HTTP/1.1 200 OK\r\n\r\n")) as service:
        participant = HttpParticipant(service.url)
        for call in [*calls, *calls]:
            participant(call)
    found = [re.findall("idempotency-key: (.*)\r", head)[0] for head in service.heads]
    keys = [read_key(each) for each in found]
    assert keys[: len(calls)] == keys[len(calls) :]
    assert len(set(keys)) == len(calls)
    assert keys[:2] == ["t.stock.do", "t.stock.confirm"]
    assert keys[3] == "order.17.stock.do"
