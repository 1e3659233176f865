"""The transport that httpx and httpx2 share; they differ in the classes it must derive from."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

from moreton.ratelimit.clients.pacing import Pace
from moreton.ratelimit.limiter import Keys, Limiter
from moreton.resilience.clients.foreign import foreign

_WAIT = timedelta(seconds=30)


class Transport:
    """Sends requests through *inner* when it is their turn: see `Pace`.

    `RateLimited` and `HeldBack` are errors of the library, too. With retries: put this transport
    into a `ResilientTransport`, so that each attempt waits for a turn.
    """

    library: ClassVar[Any]

    def __init__(
        self,
        limiter: Limiter,
        inner: Any = None,
        *,
        wait: timedelta = _WAIT,
        key: Callable[[str], Keys] | None = None,
    ) -> None:
        self._pace = Pace(limiter, wait=wait, key=key)
        self._inner = inner or self._default()

    def _default(self) -> Any:
        raise NotImplementedError


class SyncTransport(Transport):
    """For a `Client`."""

    def handle_request(self, request: Any) -> Any:
        """Send *request* when it is its turn."""
        destination = destination_of(request)
        with foreign(self.library.TransportError, self.library.PoolTimeout, _request=request):
            held = self._pace.enter(destination)
        try:
            answer = self._inner.handle_request(request)
        finally:
            self._pace.leave(held)
        self._pace.learn(destination, answer.status_code, answer.headers)
        return answer

    def close(self) -> None:
        """Close the inner transport."""
        self._inner.close()


class AsyncTransport(Transport):
    """For an `AsyncClient`."""

    async def handle_async_request(self, request: Any) -> Any:
        """Send *request* when it is its turn."""
        destination = destination_of(request)
        with foreign(self.library.TransportError, self.library.PoolTimeout, _request=request):
            held = await self._pace.enter_async(destination)
        try:
            answer = await self._inner.handle_async_request(request)
        finally:
            await self._pace.leave_async(held)
        await self._pace.learn_async(destination, answer.status_code, answer.headers)
        return answer

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()


def destination_of(request: Any) -> str:
    """`scheme://host:port` of *request*."""
    url = request.url
    port = url.port or {"http": 80, "https": 443}.get(url.scheme, 0)
    return f"{url.scheme}://{url.host}:{port}"
