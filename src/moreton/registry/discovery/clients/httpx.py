"""Transports for httpx that find services.

client = httpx.Client(transport=DiscoveryTransport(discovery))
client.get("http://orders.moreton/orders/7")
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import httpx

from moreton.registry.discovery.choices import one_request
from moreton.registry.discovery.client import AsyncDiscovery, Discovery
from moreton.registry.discovery.clients.targets import careful
from moreton.registry.discovery.clients.transport import (
    AsyncInstances,
    CountedStream,
    SyncInstances,
)
from moreton.resilience.clients.answers import FAILURES, RETRY_ON
from moreton.resilience.clients.exchange import Policies
from moreton.resilience.clients.httpx import AsyncResilientTransport, ResilientTransport

__all__ = ["AsyncDiscoveryTransport", "DiscoveryTransport"]


class _Counted(CountedStream, httpx.SyncByteStream, httpx.AsyncByteStream):
    pass


class DiscoveryTransport(ResilientTransport):
    """`http://orders.moreton/` goes to an instance of orders; every other URL where it says.

    Each request is made under the policy of its destination, which is the service and not the
    instance: *policies* as for `ResilientTransport`, by default some attempts within a budget.
    Each attempt goes to an instance that the request was not sent to yet, if there is one. The
    instance is sent `Host: orders.moreton`, and over https it has to show a certificate for that
    name. *inner* sends the requests. A service without an instance is a `ConnectError`, too.
    """

    def __init__(
        self,
        discovery: Discovery,
        policies: Policies | None = None,
        inner: httpx.BaseTransport | None = None,
        *,
        retry_on: Iterable[int] = RETRY_ON,
        failures: Iterable[int] = FAILURES,
    ) -> None:
        within: Any = SyncInstances(httpx, _Counted, inner or self._default(), discovery)
        super().__init__(
            policies or careful(discovery), within, retry_on=retry_on, failures=failures
        )

    def handle_request(self, request: httpx.Request) -> Any:
        """Send *request*; raises what the library raises, and `Refused` of a layer."""
        with one_request():
            return super().handle_request(request)


class AsyncDiscoveryTransport(AsyncResilientTransport):
    """As `DiscoveryTransport`, for `httpx.AsyncClient`."""

    def __init__(
        self,
        discovery: AsyncDiscovery,
        policies: Policies | None = None,
        inner: httpx.AsyncBaseTransport | None = None,
        *,
        retry_on: Iterable[int] = RETRY_ON,
        failures: Iterable[int] = FAILURES,
    ) -> None:
        within: Any = AsyncInstances(httpx, _Counted, inner or self._default(), discovery)
        super().__init__(
            policies or careful(discovery), within, retry_on=retry_on, failures=failures
        )

    async def handle_async_request(self, request: httpx.Request) -> Any:
        """Send *request*; raises what the library raises, and `Refused` of a layer."""
        with one_request():
            return await super().handle_async_request(request)
