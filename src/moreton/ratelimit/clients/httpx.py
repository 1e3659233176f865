"""Transports for httpx.

client = httpx.Client(transport=PacedTransport(LocalLimiter(LeakyBucket("49/s", queue=500))))
client = httpx.AsyncClient(transport=AsyncPacedTransport(SharedLimiter("/dev/shm/maps", limit)))
"""

from __future__ import annotations

from typing import Any, ClassVar

import httpx

from moreton.ratelimit.clients.transport import AsyncTransport, SyncTransport
from moreton.resilience.clients.trust import trust_of


class PacedTransport(SyncTransport, httpx.BaseTransport):
    """For `httpx.Client`: see `moreton.ratelimit.clients.transport.Transport`."""

    library: ClassVar[Any] = httpx

    def _default(self) -> httpx.BaseTransport:
        return httpx.HTTPTransport(verify=trust_of(httpx))


class AsyncPacedTransport(AsyncTransport, httpx.AsyncBaseTransport):
    """For `httpx.AsyncClient`: see `moreton.ratelimit.clients.transport.Transport`."""

    library: ClassVar[Any] = httpx

    def _default(self) -> httpx.AsyncBaseTransport:
        return httpx.AsyncHTTPTransport(verify=trust_of(httpx))
