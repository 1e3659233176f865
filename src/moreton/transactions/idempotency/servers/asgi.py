"""ASGI middleware: for FastAPI, Starlette, Django and all others.

app = IdempotencyMiddleware(app, KeyPolicy(keep_at("sqlite:///keys.db")))
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from moreton.transactions.idempotency.core.problems import Answer
from moreton.transactions.idempotency.policy import KeyPolicy, Request
from moreton.transactions.idempotency.servers.call import PLACE
from moreton.transactions.idempotency.servers.guard import Guard, Handling

__all__ = ["IdempotencyMiddleware"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class IdempotencyMiddleware:
    """Requests to *app* that have an `Idempotency-Key` are handled once, by *policy*.

    The answer is kept before its last part is sent. A client that leaves meanwhile, so that the
    server ends the handler, leaves an unknown outcome behind.
    """

    def __init__(self, app: App, policy: KeyPolicy) -> None:
        self._app = app
        self._guard = Guard(policy)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _request(scope)
        slot = self._guard.slot(request)
        if slot is None:
            await self._app(scope, receive, send)
            return
        if isinstance(slot, Answer):
            await _give(slot, send)
            return
        body = await _read(receive, self._guard.policy.request_bytes_max)
        if body is None:
            return
        if isinstance(body, _TooLarge):
            await _give(self._guard.too_large(), send)
            return
        entered = await asyncio.to_thread(self._guard.enter, slot, request, body)
        if isinstance(entered, Answer):
            await _give(entered, send)
            return
        scope[PLACE] = slot
        await self._handle(entered, scope, _again(body, receive), send)

    async def _handle(self, handling: Handling, scope: Scope, receive: Receive, send: Send) -> None:
        kept = _Kept(self._guard.policy.answer_bytes_max)

        async def sending(message: Message) -> None:
            if kept.add(message):
                await asyncio.to_thread(
                    self._guard.leave, handling, kept.status, kept.fields, kept.body
                )
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:
            if not kept.is_whole:
                await asyncio.to_thread(self._guard.fail, handling)
            raise


class _TooLarge:
    """The request has more bytes than it may."""


class _Kept:
    """The answer as it passes."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._parts: list[bytes] = []
        self._bytes = 0
        self.status = 0
        self.fields: list[tuple[str, str]] = []
        self.is_whole = False

    @property
    def body(self) -> bytes | None:
        """All of it; `None` when that is too large."""
        return b"".join(self._parts) if self._bytes <= self._bytes_max else None

    def add(self, message: Message) -> bool:
        """Whether that was the last part."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.fields = [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in message.get("headers", ())
            ]
        elif message["type"] == "http.response.body":
            part = message.get("body", b"")
            self._bytes += len(part)
            if self._bytes <= self._bytes_max:
                self._parts.append(part)
            self.is_whole = not message.get("more_body", False)
            return self.is_whole
        return False


def _request(scope: Scope) -> Request:
    headers: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name, text = raw.decode("latin-1").lower(), value.decode("latin-1")
        headers[name] = f"{headers[name]},{text}" if name in headers else text
    query = scope.get("query_string", b"").decode("latin-1")
    target = scope.get("root_path", "") + scope["path"]
    return Request(scope["method"], f"{target}?{query}" if query else target, headers)


async def _read(receive: Receive, bytes_max: int) -> bytes | _TooLarge | None:
    """The body; `None` when the client has left."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > bytes_max:
            return _TooLarge()
        if not message.get("more_body", False):
            return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives *body*, which was read already, and then what comes after it."""
    given = False

    async def receiving() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving


async def _give(answer: Answer, send: Send) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.fields]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
