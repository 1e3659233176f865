"""A dependency for FastAPI: limits for one route or router; for all of them take the middleware.

app.add_middleware(RateLimitMiddleware, …)  # moreton.ratelimit.servers.asgi

@app.get("/search", dependencies=[Depends(Limited(Rule(limiter, by_header("x-api-key"))))])
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import HTTPException, Request, Response

from moreton.ratelimit.rules import Caller, RuleSource
from moreton.ratelimit.servers.dropping import drop_asgi
from moreton.ratelimit.servers.guard import Guard

_FAILED = 500


class Limited:
    """Requests to what depends on it pass *rules*; raises `HTTPException`."""

    def __init__(self, *rules: RuleSource) -> None:
        self._guard = Guard(rules)

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
        status = _FAILED
        try:
            yield
            status = response.status_code or 200
        except HTTPException as error:
            status = error.status_code
            raise
        finally:
            await self._guard.leave_async(passage, status, response.headers.get)
