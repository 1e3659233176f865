"""The proxy of this node as the shares of limits see it, and what moreton.yaml says of those."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from moreton.controlplane.publishing.publisher import GROUP
from moreton.controlplane.quotas.holding import Held
from moreton.envoy.admin import AdminClient, EnvoyDoesNotAnswer
from moreton.envoy.core.resources import Resource
from moreton.envoy.xds import ObjectState
from moreton.gateway.compile.limits.shares.filters import ASKED_PATTERN, read_asked
from moreton.gateway.core.limits import shared_by
from moreton.gateway.core.quotas import held_quota, is_shared, share_problems
from moreton.ratelimit.quota import Quota

if TYPE_CHECKING:
    from moreton.controlplane.assembly.plane import Plane


class PlaneProxy:
    """Tells the proxies that *plane* publishes to, and asks the one with the *admin* interface."""

    def __init__(self, plane: Plane, admin: AdminClient) -> None:
        self._plane = plane
        self._admin = admin
        self._told: dict[str, tuple[list[Resource], int]] = {}

    def act(
        self, gateway: str, kept: Mapping[str, float], lent: Mapping[str, float], seconds: float
    ) -> None:
        """See `Proxy.act`."""
        publisher = self._plane.publisher
        resources = self._plane.compiler.put_shares(gateway, kept, lent, seconds)
        # What was told is published with the next pass, which has a higher number.
        self._told[gateway] = (resources, publisher.passes)
        publisher.touch_all()

    def extend(self, gateway: str, seconds: float) -> None:
        """See `Proxy.extend`."""
        resources, _ = self._told.get(gateway, ([], 0))
        lent = [replace(each, seconds=seconds) for each in resources if each.seconds is not None]
        self._plane.xds.extend(GROUP, lent)

    def has_applied(self, gateway: str) -> bool:
        """See `Proxy.has_applied`."""
        resources, passes = self._told.get(gateway, ([], 0))
        if not resources or self._plane.publisher.passes <= passes:
            return False
        statuses = [self._plane.xds.status(GROUP, each.key) for each in resources]
        return all(
            status.state is ObjectState.APPLIED and status.version == each.version
            for status, each in zip(statuses, resources, strict=True)
        )

    def next_change(self) -> asyncio.Event:
        """See `Proxy.next_change`."""
        return self._plane.publisher.next_change()

    async def counters(self) -> Mapping[tuple[str, str], int] | None:
        """See `Proxy.counters`."""
        try:
            return read_asked(await self._admin.stats(ASKED_PATTERN, only_counters=True))
        except EnvoyDoesNotAnswer:
            return None


def held_by(plane: Plane) -> tuple[Held, asyncio.Event]:
    """What the gateways of *plane* share with others, and the event of its change."""
    edited, settings = plane.next_edit(), plane.settings
    rules = settings.limits.rules.values()
    shares = {name: shared_by(list(rules), name) for name in settings.gateways}
    return {name: each for name, each in shares.items() if each}, edited


def divided_by(plane: Plane) -> tuple[Mapping[str, Quota], asyncio.Event]:
    """All limits that gateways share, and the event of their change."""
    edited = plane.next_edit()
    rules = plane.settings.limits.rules
    return {
        name: held_quota(rule).quota
        for name, rule in rules.items()
        if is_shared(rule) and not list(share_problems(rule))
    }, edited
