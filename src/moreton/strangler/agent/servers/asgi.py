"""Middleware for FastAPI, Starlette and whatever else is ASGI.

app.add_middleware(EffectsMiddleware)
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import unquote

from moreton.strangler.agent.agent import Agent
from moreton.strangler.agent.core.standing import DRY_RUN_HEADER, EFFECTS_HEADER, read_target
from moreton.strangler.agent.drying import UNKNOWN_TARGET, take_back
from moreton.strangler.agent.recording import Recording, into

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
_FIELD = EFFECTS_HEADER.encode()
_TARGET = DRY_RUN_HEADER.encode()


class EffectsMiddleware:
    """Sees what each request to *app* does, until everything that it began has ended.

    The answer says what was done when its body begins; what follows it (background tasks, the end
    of dependencies that yield) counts for the requests to come.
    """

    def __init__(self, app: Application, agent: Agent | None = None) -> None:
        self._app = app
        self._agent = agent or Agent()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = _value(scope, _FIELD)
        dry_run = self._agent.dry_run(scope["method"], scope["path"], asked)
        if dry_run is not None:
            await self._run_dry(scope, receive, send, dry_run)
            return
        recording = self._agent.recording(asked)
        sending = _Sending(self._agent, recording, scope, send, is_asked=asked is not None)
        try:
            with into(recording):
                await self._app(scope, receive, sending)
        finally:  # what it did before it failed, or was given up, is done
            sending.settle()

    async def _run_dry(
        self, scope: Scope, receive: Receive, send: Send, recording: Recording
    ) -> None:
        target = read_target(_value(scope, _TARGET) or "")
        if target is None:
            await send({"type": "http.response.start", "status": 400, "headers": []})
            await send({"type": "http.response.body", "body": UNKNOWN_TARGET.encode()})
            return
        inner = scope_of(scope, *target)
        kept: list[Message] = []

        async def keep(message: Message) -> None:
            kept.append(message)

        try:
            with into(recording):
                await self._app(inner, receive, keep)
        finally:
            await _take_back(recording)
        told = self._agent.ran_dry(endpoint_of(inner), recording)
        field = (_FIELD, self._agent.field(told).encode("latin-1", "replace"))
        for message in kept:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), field]
            await send(message)


async def _take_back(recording: Recording) -> None:
    """Undo what was done, also on drivers that have to be waited for."""
    if not recording.pins:
        take_back(recording)
        return
    concurrency = importlib.import_module("sqlalchemy.util.concurrency")
    try:
        await concurrency.greenlet_spawn(take_back, recording)
    except ImportError:  # there is no greenlet, so no driver needs it
        take_back(recording)


def _value(scope: Scope, field: bytes) -> str | None:
    found = next((value for name, value in scope["headers"] if name == field), None)
    return found.decode("latin-1") if found is not None else None


def scope_of(scope: Scope, method: str, path: str, query: str) -> Scope:
    """*scope* of the request that is to be run, instead of the one that asks for it."""
    headers = [pair for pair in scope["headers"] if pair[0] not in {_FIELD, _TARGET}]
    return {
        **scope,
        "method": method,
        "path": unquote(path),
        "raw_path": path.encode("latin-1", "replace"),
        "query_string": query.encode("latin-1", "replace"),
        "headers": headers,
    }


class _Sending:
    """Holds the beginning of an answer until its body begins."""

    def __init__(
        self, agent: Agent, recording: Recording, scope: Scope, send: Send, *, is_asked: bool
    ) -> None:
        self._agent, self._recording, self._scope, self._send = agent, recording, scope, send
        self._is_asked = is_asked
        self._start: Message | None = None
        self._field: list[tuple[bytes, bytes]] | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None:
            fields = self.settle()
            await self._send({**start, "headers": [*start.get("headers", ()), *fields]})
        await self._send(message)

    def settle(self) -> list[tuple[bytes, bytes]]:
        """The header fields that tell what the request did so far; counted once."""
        if self._field is None:
            told = self._agent.settle(endpoint_of(self._scope), self._recording)
            value = self._agent.field(told).encode("latin-1", "replace")
            self._field = [(_FIELD, value)] if self._is_asked else []
        return self._field


def endpoint_of(scope: Scope) -> str:
    """The method and the route's path; where a framework names none, the function that answered."""
    route = getattr(scope.get("route"), "path", None)
    if route is None:
        endpoint = scope.get("endpoint")
        if endpoint is None:
            return ""
        name = getattr(endpoint, "__qualname__", type(endpoint).__qualname__)
        return f"{scope['method']} {getattr(endpoint, '__module__', '')}.{name}"
    return f"{scope['method']} {scope.get('root_path', '')}{route}"
