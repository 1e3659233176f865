"""WSGI middleware: for Flask, Django and all others.

app.wsgi_app = RateLimitMiddleware(app.wsgi_app, Rule(SharedLimiter("/dev/shm/shop", Gcra("9/s"))))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any

from moreton.ratelimit.rules import Caller, RuleSource
from moreton.ratelimit.servers.dropping import drop_wsgi
from moreton.ratelimit.servers.guard import Guard, Passage

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
App = Callable[[Environ, StartResponse], Iterable[bytes]]
_FAILED = 500
_BODY_FIELDS = frozenset({"CONTENT_TYPE", "CONTENT_LENGTH"})  # as CGI calls them


class RateLimitMiddleware:
    """As the ASGI middleware, for *app*; a thread that waits for its turn is blocked.

    What is to be dropped gets no answer from gunicorn and from werkzeug's server, an empty one from
    others: WSGI has no way to close a connection.
    """

    def __init__(self, app: App, *rules: RuleSource) -> None:
        self._app = app
        self._guard = Guard(rules)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        passage = self._guard.enter(caller_of(environ))
        refusal = passage.refusal
        if refusal is not None:
            if refusal.drop:
                drop_wsgi(environ)
            status = f"{refusal.status} {HTTPStatus(refusal.status).phrase}"
            start_response(status, refusal.fields)
            return [refusal.body]
        start = _Start(start_response, passage)
        try:
            parts = self._app(environ, start)
        except BaseException:
            self._guard.leave(passage, _FAILED)
            raise
        return _Body(parts, lambda: self._guard.leave(passage, start.status, start.header))


def caller_of(environ: Environ) -> Caller:
    """The request of *environ*."""
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_") or (name in _BODY_FIELDS and value)
    }
    return Caller(
        environ.get("REQUEST_METHOD", "GET"),
        environ.get("PATH_INFO", "/"),
        headers,
        environ.get("REMOTE_ADDR", ""),
    )


class _Start:
    def __init__(self, start: StartResponse, passage: Passage) -> None:
        self._start = start
        self._passage = passage
        self.status = _FAILED
        self._headers: list[tuple[str, str]] = []

    def __call__(
        self, status: str, headers: list[tuple[str, str]], *exc_info: Any
    ) -> Callable[[bytes], object]:
        self.status, self._headers = int(status.split(" ", 1)[0]), headers
        return self._start(status, [*headers, *self._passage.fields], *exc_info)

    def header(self, name: str) -> str | None:
        """What the answer says in the field *name*."""
        return next((value for each, value in self._headers if each.lower() == name), None)


class _Body:
    """The parts of an answer; *end* is called once, when it ends or the client leaves."""

    def __init__(self, parts: Iterable[bytes], end: Callable[[], None]) -> None:
        self._parts = parts
        self._end: Callable[[], None] | None = end

    def __iter__(self) -> Iterator[bytes]:
        yield from self._parts

    def close(self) -> None:
        """End the answer."""
        end, self._end = self._end, None
        try:
            close = getattr(self._parts, "close", None)
            if close is not None:
                close()
        finally:
            if end is not None:
                end()
