"""Middleware for WSGI, on which Flask's rests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

from moreton.strangler.agent.agent import Agent
from moreton.strangler.agent.core.standing import DRY_RUN_HEADER, EFFECTS_HEADER, read_target
from moreton.strangler.agent.drying import UNKNOWN_TARGET, dry, joined
from moreton.strangler.agent.recording import Recording, into

Environ: TypeAlias = dict[str, Any]
Application: TypeAlias = Callable[[Environ, Any], Iterable[bytes]]
_ASKED = "HTTP_" + EFFECTS_HEADER.upper().replace("-", "_")
_TARGET = "HTTP_" + DRY_RUN_HEADER.upper().replace("-", "_")
ROUTE = "moreton.route"  # where in the environment the application's route is put


class EffectsMiddleware:
    """Sees what each request to *app* does; *route* says which of its routes answered it.

    The status is handed on once the application has returned its body: then is known what it did.
    """

    def __init__(
        self,
        app: Application,
        agent: Agent,
        *,
        route: Callable[[Environ], str] = lambda environ: str(environ.get(ROUTE, "")),
    ) -> None:
        self._app, self._agent, self._route = app, agent, route

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Serve one request."""
        asked = environ.get(_ASKED)
        method, path = environ.get("REQUEST_METHOD", "GET"), environ.get("PATH_INFO", "")
        dry_run = self._agent.dry_run(method, path, asked)
        if dry_run is not None:
            return self._run_dry(environ, start_response, dry_run)
        recording = self._agent.recording(asked)
        held = _Held(start_response)
        try:
            with into(recording):
                body = self._app(environ, held)
        except BaseException:  # what it did before it failed is done
            self._agent.settle(self._endpoint(environ), recording)
            raise
        told = self._agent.settle(self._endpoint(environ), recording)
        held.extra = [(EFFECTS_HEADER, self._agent.field(told))] if asked is not None else []
        held.release()
        return _Body(body, recording, held)

    def _run_dry(
        self, environ: Environ, start_response: Any, recording: Recording
    ) -> Iterable[bytes]:
        target = read_target(str(environ.get(_TARGET, "")))
        if target is None:
            start_response("400 Bad Request", [("content-type", "text/plain")])
            return [UNKNOWN_TARGET.encode()]
        inner = environ_of(environ, *target)
        held = _Held(start_response)
        with dry(recording):
            body = _Body(self._app(inner, held), recording, held)
            try:
                whole = joined(iter(body))
            finally:
                body.close()
        told = self._agent.ran_dry(self._endpoint(inner), recording)
        held.extra = [(EFFECTS_HEADER, self._agent.field(told))]
        held.release()
        return [whole]

    def _endpoint(self, environ: Environ) -> str:
        route = self._route(environ)
        return f"{environ.get('REQUEST_METHOD', 'GET')} {route}" if route else ""


def environ_of(environ: Environ, method: str, path: str, query: str) -> Environ:
    """*environ* of the request that is to be run, instead of the one that asks for it."""
    inner = {key: value for key, value in environ.items() if key not in {_TARGET, _ASKED}}
    inner["REQUEST_METHOD"], inner["QUERY_STRING"] = method, query
    inner["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1")
    for name in ("RAW_URI", "REQUEST_URI"):
        if name in inner:
            inner[name] = f"{path}?{query}" if query else path
    return inner


class _Held:
    """A `start_response` that waits until it is released; a `write` does not wait."""

    def __init__(self, start_response: Any) -> None:
        self._start = start_response
        self._waiting: tuple[str, list[tuple[str, str]], tuple[Any, ...]] | None = None
        self._released = False
        self.extra: list[tuple[str, str]] = []

    def __call__(self, status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
        self._waiting = (status, headers, error)
        return self.release() if self._released else self._write

    def release(self) -> Any:
        self._released = True
        if self._waiting is None:  # called once the body is asked for
            return self._write
        (status, headers, error), self._waiting = self._waiting, None
        return self._start(status, [*headers, *self.extra], *error)

    def _write(self, data: bytes) -> None:
        write = self.release()
        if write is not self._write:
            self._write = write  # type: ignore[method-assign]
            write(data)


class _Body:
    """The body of an answer, made and closed as part of the request that asked for it."""

    def __init__(self, body: Iterable[bytes], recording: Recording, held: _Held) -> None:
        self._body, self._recording, self._held = body, recording, held

    def __iter__(self) -> Iterator[bytes]:
        iterator = iter(self._body)
        while True:
            with into(self._recording):
                part = next(iterator, None)
            if part is None:
                return
            yield part

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            with into(self._recording):
                close()
