"""Transports for httpx.

client = httpx.Client(transport=ResilientTransport(policy))
client = httpx.AsyncClient(transport=AsyncResilientTransport(policy_of_a_host))
"""

from __future__ import annotations

from typing import Any, ClassVar

import httpx

from moreton.resilience.clients.transport import AsyncTransport, OnceStream, SyncTransport
from moreton.resilience.clients.trust import trust_of


class _Once(OnceStream, httpx.SyncByteStream, httpx.AsyncByteStream):
    pass


class ResilientTransport(SyncTransport, httpx.BaseTransport):
    """For `httpx.Client`: see `moreton.resilience.clients.transport.Transport`."""

    library: ClassVar[Any] = httpx
    once = _Once

    def _default(self) -> httpx.BaseTransport:
        return httpx.HTTPTransport(verify=trust_of(httpx))


class AsyncResilientTransport(AsyncTransport, httpx.AsyncBaseTransport):
    """For `httpx.AsyncClient`: see `moreton.resilience.clients.transport.Transport`."""

    library: ClassVar[Any] = httpx
    once = _Once

    def _default(self) -> httpx.AsyncBaseTransport:
        return httpx.AsyncHTTPTransport(verify=trust_of(httpx))
