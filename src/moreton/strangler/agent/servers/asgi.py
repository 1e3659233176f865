"""Middleware for FastAPI, Starlette and whatever else is ASGI.

app.add_middleware(EffectsMiddleware)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from moreton.strangler.agent.agent import Agent
from moreton.strangler.agent.core.standing import EFFECTS_HEADER
from moreton.strangler.agent.recording import Recording, into

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
_FIELD = EFFECTS_HEADER.encode()


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
        asked = next((value for name, value in scope["headers"] if name == _FIELD), None)
        recording = self._agent.recording(asked.decode("latin-1") if asked is not None else None)
        sending = _Sending(self._agent, recording, scope, send, is_asked=asked is not None)
        with into(recording):
            await self._app(scope, receive, sending)
        sending.settle()


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
