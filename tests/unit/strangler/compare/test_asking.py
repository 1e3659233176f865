"""Questions to services that answer, fail, drip, or say too much."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from moreton.strangler.compare.core.answers import BODY_BYTES_MAX, Answer
from moreton.strangler.compare.core.questions import Question
from moreton.strangler.compare.serving.asking import Asker, NoAnswer

QUESTION = Question("GET", "/", [("host", "x")])
SECONDS = 30


@contextlib.contextmanager
def server(talk: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """One that has *talk* answer each connection, after a request came."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    threading.Thread(target=answer, args=[connection], daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                while connection.recv(65536):
                    talk(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listening.getsockname()
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(SECONDS)


def test_a_connection_is_kept_for_the_next_question() -> None:
    seen: list[socket.socket] = []

    def talk(connection: socket.socket) -> None:
        seen.append(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    asker = Asker()
    with server(talk) as place:
        answers = [asker.ask(place, QUESTION, SECONDS) for _ in range(3)]
        asker.close()
    assert answers == [Answer(200, [("content-length", "2")], b"ok")] * 3
    assert len(set(seen)) == 1


def test_of_a_hundred_megabytes_no_more_than_is_kept_is_read() -> None:
    sent = 0

    def talk(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
        for _ in range(1000):
            sent += connection.send(b"x" * 100_000)

    with server(talk) as place:
        answer = Asker().ask(place, QUESTION, SECONDS)
    assert isinstance(answer, Answer)
    assert not answer.complete
    assert len(answer.body) == BODY_BYTES_MAX
    assert sent < 100_000_000


def test_nobody_there_is_no_answer() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        found = Asker().ask(held.getsockname(), QUESTION, SECONDS)
    assert isinstance(found, NoAnswer)
    assert "refused" in found.why


def test_what_is_no_http_is_no_answer() -> None:
    with server(lambda connection: connection.sendall(b"hello\r\n\r\n")) as place:
        assert isinstance(Asker().ask(place, QUESTION, SECONDS), NoAnswer)


def test_an_answer_that_drips_is_cut_when_its_time_is_over() -> None:
    asker, is_dripping = Asker(), threading.Event()

    def talk(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        is_dripping.set()
        threading.Event().wait(SECONDS)

    with server(talk) as place, ThreadPoolExecutor(1) as threads:
        asking = threads.submit(asker.ask, place, QUESTION, 0.05)
        assert is_dripping.wait(SECONDS)
        while not asking.done():
            asker.cut_late()
        assert isinstance(asking.result(SECONDS), NoAnswer)
