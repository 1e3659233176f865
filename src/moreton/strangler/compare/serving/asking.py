"""Asks a service over HTTP/1.1, in bounded time and memory."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus

from moreton.strangler.compare.core.answers import BODY_BYTES_MAX, Answer
from moreton.strangler.compare.core.documents import Place
from moreton.strangler.compare.core.questions import Question

_CHUNK_BYTES = 64 * 1024
_IDLE_MAX = 16


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """None came, or none that could be read: *why*."""

    why: str


class Asker:
    """Asks from any number of threads; connections are kept for the next question.

    Of an answer no more than `BODY_BYTES_MAX` is read, whatever comes, and none is waited for
    beyond its time: `cut_late` has to be called often.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[Place, list[http.client.HTTPConnection]] = {}
        self._ends: dict[http.client.HTTPConnection, float] = {}

    def ask(self, place: Place, question: Question, seconds: float) -> Answer | NoAnswer:
        """What the service at *place* answers to *question* within *seconds*."""
        end = time.monotonic() + seconds
        kept = self._taken(place)
        if kept is not None:
            with suppress(OSError, http.client.HTTPException):  # it may have been closed meanwhile
                return self._asked(place, kept, question, end)
        try:
            fresh = http.client.HTTPConnection(*place, timeout=seconds)
            return self._asked(place, fresh, question, end)
        except (OSError, ValueError, http.client.HTTPException) as error:
            late = time.monotonic() >= end
            why = f"nothing within {seconds:g} s" if late else str(error) or type(error).__name__
            return NoAnswer(why.lower())

    def cut_late(self) -> None:
        """End the questions whose time is over, also those whose answers drip."""
        now = time.monotonic()
        with self._lock:
            late = [connection for connection, end in self._ends.items() if end <= now]
        for connection in late:
            with suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of all connections."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def _taken(self, place: Place) -> http.client.HTTPConnection | None:
        with self._lock:
            idle = self._idle.get(place)
            return idle.pop() if idle else None

    def _asked(
        self,
        place: Place,
        connection: http.client.HTTPConnection,
        question: Question,
        end: float,
    ) -> Answer:
        with self._ending(connection, end):
            try:
                answer = _exchanged(connection, question, end)
            except BaseException:
                connection.close()
                raise
        if answer.complete and connection.sock is not None:
            with self._lock:
                idle = self._idle.setdefault(place, [])
                if len(idle) < _IDLE_MAX:
                    idle.append(connection)
                    return answer
        connection.close()
        return answer

    @contextmanager
    def _ending(self, connection: http.client.HTTPConnection, end: float) -> Iterator[None]:
        with self._lock:
            self._ends[connection] = end
        try:
            yield
        finally:
            with self._lock:
                self._ends.pop(connection, None)


def _exchanged(connection: http.client.HTTPConnection, question: Question, end: float) -> Answer:
    connection.timeout = max(0.001, end - time.monotonic())
    if connection.sock is not None:
        connection.sock.settimeout(connection.timeout)
    connection.putrequest(
        question.method, question.target, skip_host=True, skip_accept_encoding=True
    )
    for name, value in question.headers:
        connection.putheader(name, value.encode("latin-1", "replace"))
    if question.body or question.method in {"POST", "PUT", "PATCH"}:
        connection.putheader("content-length", str(len(question.body)))
    connection.endheaders(question.body or None)
    response = connection.getresponse()
    body, complete = _read(response, end)
    response.close()  # the connection stays, and takes the next question
    headers = [(name.lower(), value) for name, value in response.getheaders()]
    if response.status == HTTPStatus.SWITCHING_PROTOCOLS or not complete:
        connection.close()
    return Answer(response.status, headers, body, complete=complete)


def _read(response: http.client.HTTPResponse, end: float) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    room = BODY_BYTES_MAX
    while room:
        if time.monotonic() >= end:
            raise TimeoutError
        part = response.read1(min(_CHUNK_BYTES, room))
        if not part:
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)
            return b"".join(parts), True
        parts.append(part)
        room -= len(part)
    return b"".join(parts), not response.read1(1)
