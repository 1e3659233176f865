"""ASGI middleware: deadlines, criticality and load shedding for FastAPI, Starlette, Django.

app = ResilienceMiddleware(app, shedding=AdaptiveLimit())
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

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

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class ResilienceMiddleware:
    """Gives *app* the deadline and criticality of each request, and sheds load by *shedding*.

    A request that *shedding* (an `AdaptiveLimit` or a `Bulkhead`) does not let in is answered 503
    with `Retry-After`, one whose deadline has passed 504, both as problem+json. A 5xx answer of an
    app whose own calls were retried in vain says `x-moreton-retry: never`. Answers are streamed as
    they come; other scopes than http pass through.
    """

    def __init__(self, app: App, *, shedding: Gate | None = None) -> None:
        self._app = app
        gate = check_gate(shedding)
        self._let_in = self._call if gate is None else gate.wrap_async(self._call)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
        started = False
        with inbound(headers) as found:

            async def sending(message: Message) -> None:
                nonlocal started
                if message["type"] == "http.response.start":
                    started = True
                    if is_never(message["status"], found):
                        fields = [*message.get("headers", ()), (RETRY.encode(), NEVER.encode())]
                        message = {**message, "headers": fields}
                await send(message)

            try:
                await self._serve(scope, receive, sending)
            except (Refused, DeadlineExceeded) as error:
                # Of this middleware, or of a layer that the app did not catch.
                if started:
                    raise
                await _answer(sending, error)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        check_deadline()
        await self._let_in(scope, receive, send)

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


async def _answer(send: Send, error: Refused | DeadlineExceeded) -> None:
    status, fields, body = refusal(error) if isinstance(error, Refused) else too_late()
    headers = [(name.encode(), value.encode("latin-1")) for name, value in fields]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
