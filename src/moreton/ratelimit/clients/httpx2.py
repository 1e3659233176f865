"""Transports for httpx2.

client = httpx2.Client(transport=PacedTransport(LocalLimiter(LeakyBucket("49/s", queue=500))))
client = httpx2.AsyncClient(transport=AsyncPacedTransport(SharedLimiter("/dev/shm/maps", limit)))
"""

from __future__ import annotations

from typing import Any, ClassVar

import httpx2

from moreton.ratelimit.clients.transport import AsyncTransport, SyncTransport
from moreton.resilience.clients.trust import trust_of


class PacedTransport(SyncTransport, httpx2.BaseTransport):
    """For `httpx2.Client`: see `moreton.ratelimit.clients.transport.Transport`."""

    library: ClassVar[Any] = httpx2

    def _default(self) -> httpx2.BaseTransport:
        return httpx2.HTTPTransport(verify=trust_of(httpx2))


class AsyncPacedTransport(AsyncTransport, httpx2.AsyncBaseTransport):
    """For `httpx2.AsyncClient`: see `moreton.ratelimit.clients.transport.Transport`."""

    library: ClassVar[Any] = httpx2

    def _default(self) -> httpx2.AsyncBaseTransport:
        return httpx2.AsyncHTTPTransport(verify=trust_of(httpx2))
