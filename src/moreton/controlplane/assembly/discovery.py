"""Follows the registry: instances become endpoints of the services that discover them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from moreton.controlplane.core.desired import Desired
from moreton.controlplane.publishing.publisher import Publisher
from moreton.gateway.core.model import Address, Endpoint, Service
from moreton.registry import InstanceView, Registry, serving

_WEIGHT_MAX = 128  # of an Envoy endpoint


class Discovery:
    """The registry's view, and who must be told when it changes."""

    def __init__(self, registry: Registry, desired: Desired) -> None:
        self.view = InstanceView()
        self._registry = registry
        self._desired = desired

    def endpoints_of(self, service: Service) -> list[Endpoint]:
        """Where *service* answers now: its addresses, or its registered instances."""
        if service.discover is None:
            return [Endpoint(address) for address in service.addresses]
        found = serving(self.view.of(service.discover))
        # Envoy's weights are small; what counts is their relation.
        scale = max([each.weight for each in found], default=1)
        return [
            Endpoint(
                Address(each.address, each.port),
                weight=each.weight
                if scale <= _WEIGHT_MAX
                else max(1, each.weight * _WEIGHT_MAX // scale),
            )
            for each in found
        ]

    async def load(self) -> None:
        """Take note of every instance there is."""
        async with self._registry.watch() as changes:
            self.view.apply(await anext(changes))

    async def run(self, publisher: Publisher) -> None:
        """Tell *publisher* of every change; until cancelled."""
        async with self._registry.watch() as changes:
            async for change in changes:
                names = self.view.apply(change)
                if names:
                    publisher.touch_endpoints(
                        service.name
                        for service in self._desired.services()
                        if service.discover in names
                    )

    @contextlib.asynccontextmanager
    async def running(self, publisher: Publisher) -> AsyncIterator[None]:
        """`run` in the background."""
        task = asyncio.create_task(self.run(publisher), name="discovery")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
