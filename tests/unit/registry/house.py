"""A registry on a store in memory, whose time passes when it is told to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from moreton.kernel.time import Instant
from moreton.registry import Instance, InstanceId, Registry
from moreton.registry.core.checks import Check, HttpProbe
from moreton.registry.core.documents import PREFIX
from moreton.registry.core.standing import (
    CheckResult,
    CheckStatus,
    Health,
    InstanceState,
    Order,
)
from moreton.store import Compare, TxnResult, prefix_end
from moreton.store.core.model import Op
from moreton.store.host import LocalStore

TTL = timedelta(seconds=5)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DRAIN = Order(InstanceState.DRAINING, NOON, reason="a deploy", by="anna")
CHECKED = Instance(
    InstanceId("1"), "catalogue", "10.0.0.1", 80, checks=(Check("http", HttpProbe("/health")),)
)
WELL = Health((CheckResult("http", CheckStatus.PASSING, NOON),))
SICK = Health((CheckResult("http", CheckStatus.CRITICAL, NOON, "status 500"),))
ONE = Instance(InstanceId("1"), "catalogue", "10.0.0.1", 80)
TWO = Instance(InstanceId("2"), "catalogue", "10.0.0.2", 80)
CART = Instance(InstanceId("1"), "cart", "10.0.0.3", 80)


class HandClock:
    def __init__(self) -> None:
        self.at = Instant(0)

    def now(self) -> Instant:
        return self.at

    def wall(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class House:
    store: LocalStore
    registry: Registry
    clock: HandClock

    async def pass_time(self, span: timedelta) -> None:
        """Let the store's timer ring when it should."""
        end = self.clock.at + span
        while (due := self.store._leases.deadline()) is not None and due <= end:
            self.clock.at = max(due, self.clock.at)
            self.store._on_timer()
        self.clock.at = end

    async def write(self, then: Sequence[Op], *, compare: Sequence[Compare] = ()) -> TxnResult:
        """As a leader's term does it, which goes on."""
        return await self.store.txn(compare, then)

    async def keys(self) -> list[str]:
        """What is stored, without what all keys begin with."""
        found = await self.store.range(PREFIX, prefix_end(PREFIX))
        return [kv.key.removeprefix(PREFIX).decode() for kv in found.kvs]

    async def find(self, instance: Instance, health: Health) -> None:
        """Tell as the leader what checks found."""
        told = self.registry.telling(self.write)
        await told.health({(instance.service, instance.id): health})

    async def states(self) -> list[str]:
        return [each.state for each in (await self.registry.instances()).instances]

    async def endpoints(self) -> list[str]:
        return [each.endpoint for each in (await self.registry.instances()).instances]
