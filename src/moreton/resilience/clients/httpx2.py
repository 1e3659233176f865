"""Transports for httpx2.

client = httpx2.Client(transport=ResilientTransport(policy))
client = httpx2.AsyncClient(transport=AsyncResilientTransport(policy_of_a_host))
"""

from __future__ import annotations

from typing import Any, ClassVar

import httpx2

from moreton.resilience.clients.transport import AsyncTransport, OnceStream, SyncTransport
from moreton.resilience.clients.trust import trust_of


class _Once(OnceStream, httpx2.SyncByteStream, httpx2.AsyncByteStream):
    pass


class ResilientTransport(SyncTransport, httpx2.BaseTransport):
    """For `httpx2.Client`: see `moreton.resilience.clients.transport.Transport`."""

    library: ClassVar[Any] = httpx2
    once = _Once

    def _default(self) -> httpx2.BaseTransport:
        return httpx2.HTTPTransport(verify=trust_of(httpx2))


class AsyncResilientTransport(AsyncTransport, httpx2.AsyncBaseTransport):
    """For `httpx2.AsyncClient`: see `moreton.resilience.clients.transport.Transport`."""

    library: ClassVar[Any] = httpx2
    once = _Once

    def _default(self) -> httpx2.AsyncBaseTransport:
        return httpx2.AsyncHTTPTransport(verify=trust_of(httpx2))
