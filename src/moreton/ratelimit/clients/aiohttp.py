"""A middleware for aiohttp's client, 3.12 or later.

session = aiohttp.ClientSession(middlewares=(PacedMiddleware(limiter),))
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from aiohttp import (
    ClientConnectionError,
    ClientHandlerType,
    ClientRequest,
    ClientResponse,
    ServerTimeoutError,
)

from moreton.ratelimit.clients.pacing import Pace
from moreton.ratelimit.limiter import Keys, Limiter
from moreton.resilience.clients.foreign import foreign

_WAIT = timedelta(seconds=30)


class PacedMiddleware:
    """Sends requests when it is their turn: see `moreton.ratelimit.clients.pacing.Pace`.

    `RateLimited` and `HeldBack` are errors of aiohttp, too. After a `ResilientMiddleware` in the
    list, each of its attempts waits for a turn.
    """

    def __init__(
        self,
        limiter: Limiter,
        *,
        wait: timedelta = _WAIT,
        key: Callable[[str], Keys] | None = None,
    ) -> None:
        self._pace = Pace(limiter, wait=wait, key=key)

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send *request* when it is its turn."""
        url = request.url
        destination = f"{url.scheme}://{url.host}:{url.port}"
        with foreign(ClientConnectionError, ServerTimeoutError):
            held = await self._pace.enter_async(destination)
        try:
            answer = await handler(request)
        finally:
            await self._pace.leave_async(held)
        await self._pace.learn_async(destination, answer.status, answer.headers)
        return answer
