"""Follows the registry: instances become endpoints of the services that discover them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from moreton.controlplane.core.desired import Desired
from moreton.controlplane.core.drains import LEAVING_STATES
from moreton.controlplane.following import Noting, Quiet, in_background, keep_following
from moreton.controlplane.publishing.publisher import Publisher
from moreton.gateway.core.model import Address, Endpoint, Service
from moreton.registry import InstanceChange, InstanceState, InstanceView, Registry, serving

_LOG = logging.getLogger("moreton.controlplane")
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
        self._protected: frozenset[str] = frozenset()
        self._tell_others = tell
        self._registry = registry
        self._desired = desired
        self._troubles = troubles or Quiet()

    def endpoints_of(self, service: Service) -> list[Endpoint]:
        """Where *service* answers now: its addresses, or its registered instances.

        Those that are leaving are told of as not healthy.
        """
        if service.discover is None:
            return self._fixed(service)
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

    def _fixed(self, service: Service) -> list[Endpoint]:
        """The addresses of *service*, without those that are known to be out.

        They are registered as instances, too, by a node that may not have come to that yet.
        """
        known = {(each.address, each.port): each.state for each in self.view.of(service.name)}
        states = [(x, known.get((x.host, x.port))) for x in service.addresses]
        return [
            Endpoint(address, healthy=state not in LEAVING_STATES)
            for address, state in states
            if state is not InstanceState.CRITICAL
        ]

    async def load(self) -> None:
        """Take note of every instance there is."""
        async with self._registry.watch() as changes:
            self.view.apply(await anext(changes))
            self._say_kept()

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

    def _say_kept(self) -> None:
        """Say once of a service that those that fell are kept in use, and once that it is over."""
        kept = self.view.kept()
        for service in kept.keys() - self._protected:
            _LOG.warning(
                'too many instances of "%s" fell at once: they are kept in use until there is '
                "evidence against them, see `moreton instances %s`",
                service,
                service,
            )
        for service in self._protected - kept.keys():
            _LOG.info('"%s": nobody that fell is kept in use any more', service)
        self._protected = frozenset(kept)

    def _tell(self, publisher: Publisher, names: frozenset[str]) -> None:
        if names:
            self._say_kept()
            publisher.touch_endpoints(
                service for name in names for service in self._desired.registered_as(name)
            )
