"""A dependency for FastAPI: limits for one route or router; for all of them take the middleware.

app.add_middleware(RateLimitMiddleware, …)  # moreton.ratelimit.servers.asgi

@app.get("/search", dependencies=[Depends(Limited(Rule(limiter, by_header("x-api-key"))))])
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator

from fastapi import HTTPException, Request, Response

from moreton.ratelimit.rules import Caller, RuleSource
from moreton.ratelimit.servers.asgi import ENDS
from moreton.ratelimit.servers.dropping import drop_asgi
from moreton.ratelimit.servers.guard import Guard, Passage

_log = logging.getLogger("moreton.ratelimit")
_FAILED = 500


class Limited:
    """Requests to what depends on it pass *rules*; raises `HTTPException`.

    Rules that count answers see those that a route returns as a `Response` of its own only where
    `RateLimitMiddleware` is around the application, with rules or without; else such count as 200.
    """

    def __init__(self, *rules: RuleSource) -> None:
        self._guard = Guard(rules)
        self._warned = False

    async def __call__(self, request: Request, response: Response) -> AsyncIterator[None]:
        """Around one request."""
        host = request.client.host if request.client is not None else ""
        headers = {name.lower(): value for name, value in request.headers.items()}
        passage = await self._guard.enter_async(
            Caller(request.method, request.url.path, headers, host)
        )
        refusal = passage.refusal
        if refusal is not None:
            told = {k: v for k, v in refusal.fields if not k.startswith("content-")}
            if refusal.drop and not await drop_asgi(request.receive, request._send):  # noqa: SLF001
                told["connection"] = "close"
            raise HTTPException(refusal.status, refusal.detail, told)
        for name, value in passage.fields:
            response.headers[name] = value
        ends = request.scope.get(ENDS)
        if ends is not None:
            ends.append(functools.partial(self._guard.leave_async, passage))
            yield
            return
        self._warn(passage)
        status = _FAILED
        try:
            yield
            status = response.status_code or 200
        except HTTPException as error:
            status = error.status_code
            raise
        finally:
            await self._guard.leave_async(passage, status, response.headers.get)

    def _warn(self, passage: Passage) -> None:
        counting = [rule.name for rule, _ in passage.passed if rule.charge is not None]
        if counting and not self._warned:
            self._warned = True
            _log.warning(
                "limit %s counts answers, of which a dependency sees no Response that a route "
                "returns: such count as 200; add moreton.ratelimit.servers.asgi."
                "RateLimitMiddleware to the application, without rules will do",
                ", ".join(counting),
            )
