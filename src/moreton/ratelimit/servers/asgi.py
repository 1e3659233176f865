"""ASGI middleware: for FastAPI, Starlette, Django and all others.

app = RateLimitMiddleware(app, Rule(LocalLimiter(Gcra("100/s")), by_address()))
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from moreton.ratelimit.rules import Caller, Refusal, RuleSource
from moreton.ratelimit.servers.dropping import drop_asgi
from moreton.ratelimit.servers.guard import Guard, HeaderOf

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]
End = Callable[[int, HeaderOf], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
# Where in a scope the middleware takes what is to be called with the status and the fields.
ENDS = "moreton.ratelimit.ends"
# For a WebSocket: "try again later", RFC 6455 and the registry of close codes.
_TRY_AGAIN_LATER = 1013
_FAILED = 500
_STARTS = frozenset({"http.response.start", "websocket.http.response.start"})
# Of a WebSocket; one that is closed before it was accepted is answered so by servers.
_SWITCHED, _NOT_ACCEPTED = 101, 403


class RateLimitMiddleware:
    """Lets requests and WebSockets to *app* pass *rules*, and tells of the limits in the answers.

    What is too many is answered as its rule says. What is to be dropped gets no answer where the
    server lets that be (uvicorn, gunicorn's ASGI worker, hypercorn), else an empty one, and the
    connection is closed.
    """

    def __init__(self, app: App, *rules: RuleSource) -> None:
        self._app = app
        self._guard = Guard(rules)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        passage = await self._guard.enter_async(_caller(scope))
        if passage.refusal is not None:
            await _refuse(scope, passage.refusal, receive, send)
            return
        status = _FAILED
        answered: Headers = ()
        # What dependencies of routes leave to be done: they do not see what is answered.
        ends: list[End] = []
        scope[ENDS] = ends

        async def sending(message: Message) -> None:
            nonlocal status, answered
            kind = message["type"]
            if kind in _STARTS:
                status, answered = message["status"], message.get("headers", ())
                told = [(name.encode(), value.encode()) for name, value in passage.fields]
                message = {**message, "headers": [*answered, *told]}
            elif kind == "websocket.accept":
                status = _SWITCHED
            elif kind == "websocket.close" and status == _FAILED:
                status = _NOT_ACCEPTED
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            header: HeaderOf = lambda name: _header(answered, name)  # noqa: E731 - typed
            await self._guard.leave_async(passage, status, header)
            for end in ends:
                await end(status, header)


def _header(headers: Headers, name: str) -> str | None:
    wanted = name.encode()
    found = (value for raw, value in headers if raw.lower() == wanted)
    value = next(found, None)
    return None if value is None else value.decode("latin-1")


def _caller(scope: Scope) -> Caller:
    headers: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1").lower()
        text = value.decode("latin-1")
        # A list may be in several fields.
        headers[name] = f"{headers[name]},{text}" if name in headers else text
    client = scope.get("client")
    return Caller(scope.get("method", "GET"), scope["path"], headers, client[0] if client else "")


async def _refuse(scope: Scope, refusal: Refusal, receive: Receive, send: Send) -> None:
    if refusal.drop and await drop_asgi(receive, send):
        return
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": _TRY_AGAIN_LATER})
        return
    fields = [*refusal.fields, *([("connection", "close")] if refusal.drop else [])]
    headers = [(name.encode(), value.encode("latin-1")) for name, value in fields]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": refusal.body})
