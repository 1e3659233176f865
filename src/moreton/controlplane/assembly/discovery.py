"""Follows the registry: instances become endpoints of the services that discover them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from moreton.controlplane.core.desired import Desired
from moreton.controlplane.core.drains import LEAVING_STATES
from moreton.controlplane.following import Noting, Quiet, in_background, keep_following
from moreton.controlplane.publishing.publisher import Publisher
from moreton.gateway.core.model import Address, Endpoint, Service
from moreton.registry import InstanceChange, InstanceView, Registry, serving

_WEIGHT_MAX = 128  # of an Envoy endpoint


class Discovery:
    """The registry's view, and who must be told when it changes."""

    def __init__(
        self,
        registry: Registry,
        desired: Desired,
        *,
        troubles: Noting | None = None,
        tell: Callable[[InstanceChange], None] = lambda _: None,
    ) -> None:
        """*tell* is called with every change, once the view has it."""
        self.view = InstanceView()
        self._tell_others = tell
        self._registry = registry
        self._desired = desired
        self._troubles = troubles or Quiet()

    def endpoints_of(self, service: Service) -> list[Endpoint]:
        """Where *service* answers now: its addresses, or its registered instances.

        Those that are leaving are told of as not healthy.
        """
        if service.discover is None:
            return [Endpoint(address) for address in service.addresses]
        there = self.view.of(service.discover)
        found = serving(there)
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
        ] + [
            # Known, so that the requests under way there can be counted, and sent nothing new.
            Endpoint(Address(each.address, each.port), healthy=False)
            for each in there
            if each.state in LEAVING_STATES
        ]

    async def load(self) -> None:
        """Take note of every instance there is."""
        async with self._registry.watch() as changes:
            self.view.apply(await anext(changes))

    async def run(self, publisher: Publisher) -> None:
        """Tell *publisher* of every change; until cancelled.

        While the store is in trouble the instances that were known last go on counting.
        """

        async def follow(is_fine: Callable[[], None]) -> None:
            async with self._registry.watch() as changes:
                async for change in changes:
                    is_fine()
                    self._tell(publisher, self.view.apply(change))
                    self._tell_others(change)

        await keep_following(follow, what="following instances", troubles=self._troubles)

    def running(self, publisher: Publisher) -> AbstractAsyncContextManager[None]:
        """`run` in the background."""
        return in_background(self.run(publisher), name="discovery")

    def _tell(self, publisher: Publisher, names: frozenset[str]) -> None:
        if names:
            publisher.touch_endpoints(
                service.name for service in self._desired.services() if service.discover in names
            )
