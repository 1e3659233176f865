"""WSGI middleware: deadlines, criticality and load shedding for Django and Flask.

app.wsgi_app = ResilienceMiddleware(app.wsgi_app, shedding=Bulkhead(32, queue=64))
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Generator, Iterable, Iterator
from http import HTTPStatus
from types import TracebackType
from typing import Any

from moreton.resilience.context import Inbound
from moreton.resilience.core.headers import NEVER, RETRY
from moreton.resilience.errors import DeadlineExceeded, Refused
from moreton.resilience.layers.layer import Gate
from moreton.resilience.servers.inbound import (
    check_deadline,
    check_gate,
    inbound,
    is_never,
    refusal,
    too_late,
)

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
App = Callable[[Environ, StartResponse], Iterable[bytes]]
Exc = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


class ResilienceMiddleware:
    """As the ASGI middleware, for *app*; the answer is streamed, within the same context."""

    def __init__(self, app: App, *, shedding: Gate | None = None) -> None:
        self._app = app
        gate = check_gate(shedding)
        self._let_in = self._call if gate is None else gate.wrap_generator(self._call)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        # The body is produced after this call: in a context of its own that lasts until its end.
        context = contextvars.copy_context()
        return _Body(context, self._serve(environ, start_response))

    def _serve(self, environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        with inbound(_headers(environ)) as found:
            start = _Start(start_response, found)
            try:
                check_deadline()
                yield from self._let_in(environ, start)
            except (Refused, DeadlineExceeded) as error:
                # Of this middleware, or of a layer that the app did not catch.
                if start.called:
                    raise
                status, fields, body = refusal(error) if isinstance(error, Refused) else too_late()
                start(f"{status} {HTTPStatus(status).phrase}", fields)
                yield body

    def _call(self, environ: Environ, start: StartResponse) -> Generator[bytes, None, None]:
        parts = self._app(environ, start)
        try:
            yield from parts
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()


class _Start:
    def __init__(self, start: StartResponse, found: Inbound) -> None:
        self._start = start
        self._found = found
        self.called = False

    def __call__(
        self, status: str, headers: list[tuple[str, str]], exc_info: Exc | None = None
    ) -> Callable[[bytes], object]:
        self.called = True
        if is_never(int(status.split(" ", 1)[0]), self._found):
            headers = [*headers, (RETRY, NEVER)]
        if exc_info is None:
            return self._start(status, headers)
        return self._start(status, headers, exc_info)


class _Body:
    """The parts of an answer, each produced within *context*."""

    def __init__(self, context: contextvars.Context, parts: Any) -> None:
        self._context = context
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        part: bytes = self._context.run(next, self._parts)
        return part

    def close(self) -> None:
        """End the answer, also when the client left."""
        self._context.run(self._parts.close)


def _headers(environ: Environ) -> dict[str, str]:
    return {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
