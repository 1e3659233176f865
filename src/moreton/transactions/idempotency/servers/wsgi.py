"""WSGI middleware: for Flask, Django and all others.

app.wsgi_app = IdempotencyMiddleware(app.wsgi_app, KeyPolicy(keep_at("sqlite:///keys.db")))
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from itertools import chain
from typing import Any

from moreton.transactions.idempotency.core.problems import Answer
from moreton.transactions.idempotency.policy import KeyPolicy, Request
from moreton.transactions.idempotency.servers.call import PLACE
from moreton.transactions.idempotency.servers.guard import Guard, Handling

__all__ = ["IdempotencyMiddleware"]

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
App = Callable[[Environ, StartResponse], Iterable[bytes]]


class IdempotencyMiddleware:
    """As the ASGI middleware, for *app*.

    An answer is held until it is whole, and kept, or is too large to be.
    """

    def __init__(self, app: App, policy: KeyPolicy) -> None:
        self._app = app
        self._guard = Guard(policy)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        request = _request(environ)
        slot = self._guard.slot(request)
        if slot is None:
            return self._app(environ, start_response)
        if isinstance(slot, Answer):
            return _give(slot, start_response)
        body = _read(environ, self._guard.policy.request_bytes_max)
        if body is None:
            return _give(self._guard.too_large(), start_response)
        if isinstance(body, _Incomplete):
            return _give(self._guard.incomplete(), start_response)
        entered = self._guard.enter(slot, request, body)
        if isinstance(entered, Answer):
            return _give(entered, start_response)
        environ |= {
            PLACE: slot,
            "wsgi.input": io.BytesIO(body),
            "CONTENT_LENGTH": str(len(body)),
        }
        return self._handle(entered, environ, start_response)

    def _handle(
        self, handling: Handling, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        start = _Start()
        parts: Iterable[bytes] = ()
        try:
            parts = self._app(environ, start)
            rest = iter(parts)
            body = start.take(rest, self._guard.policy.answer_bytes_max)
        except BaseException as error:
            if isinstance(error, Exception):
                self._guard.fail(handling)
            _close(parts)
            raise
        self._guard.leave(handling, start.code, start.fields, body)
        start_response(start.status, start.fields, *start.exc_info)
        return _Body(chain(start.written, rest), parts)


class _Start:
    """Takes the beginning of an answer, and holds it."""

    def __init__(self) -> None:
        self.status = ""
        self.fields: list[tuple[str, str]] = []
        self.exc_info: tuple[Any, ...] = ()
        self.written: list[bytes] = []

    def __call__(
        self, status: str, fields: list[tuple[str, str]], *exc_info: Any
    ) -> Callable[[bytes], object]:
        self.status, self.fields, self.exc_info = status, list(fields), exc_info
        return self.written.append

    @property
    def code(self) -> int:
        return int(self.status.split(" ", 1)[0])

    def take(self, rest: Iterator[bytes], bytes_max: int) -> bytes | None:
        """Read *rest* to its end, or until it is too large: `None`."""
        size = sum(map(len, self.written))
        for part in rest:
            self.written.append(part)
            size += len(part)
            if size > bytes_max:
                return None
        return b"".join(self.written)


class _Body:
    """The parts of an answer; ends the application's."""

    def __init__(self, parts: Iterator[bytes], source: Iterable[bytes]) -> None:
        self._parts = parts
        self._source = source

    def __iter__(self) -> Iterator[bytes]:
        return self._parts

    def close(self) -> None:
        _close(self._source)


def _close(parts: Iterable[bytes]) -> None:
    close = getattr(parts, "close", None)
    if close is not None:
        close()


def _request(environ: Environ) -> Request:
    headers = {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    headers["content-type"] = environ.get("CONTENT_TYPE", "")
    query = environ.get("QUERY_STRING", "")
    target = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "/")
    method = environ.get("REQUEST_METHOD", "GET")
    return Request(method, f"{target}?{query}" if query else target, headers)


class _Incomplete:
    """The client left before all was sent."""


def _read(environ: Environ, bytes_max: int) -> bytes | _Incomplete | None:
    """The body; `None` when it is too large."""
    text = environ.get("CONTENT_LENGTH") or ""
    body: bytes
    if text.isdecimal():
        length = int(text)
        if length > bytes_max:
            return None
        body = environ["wsgi.input"].read(length)
        return body if len(body) == length else _Incomplete()
    if not environ.get("wsgi.input_terminated"):
        return b""
    body = environ["wsgi.input"].read(bytes_max + 1)
    return None if len(body) > bytes_max else body


def _give(answer: Answer, start_response: StartResponse) -> list[bytes]:
    start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", answer.fields)
    return [answer.body]
