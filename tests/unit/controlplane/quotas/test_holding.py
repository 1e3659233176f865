from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace

import pytest

from moreton.controlplane.following import Quiet
from moreton.controlplane.quotas.holding import Held, Holdings
from moreton.controlplane.quotas.keys import GRANTS, report_key
from moreton.kernel.time import SystemClock
from moreton.ratelimit.quota import CLOSED, FLOOR, HeldQuota, Quota
from moreton.ratelimit.quota.core.messages import (
    Grants,
    Report,
    decode_report,
    encode_grants,
    encode_report,
)
from moreton.store import Store
from moreton.store.memory import open_memory_store

QUOTA = Quota(100.0, 100)
KEPT: Held = {"public": {"q": HeldQuota(QUOTA)}}
LENT: Held = {"public": {"q": HeldQuota(QUOTA, CLOSED)}}


@dataclass
class Told:
    """A proxy that takes all into force at once, and notes it."""

    kept: dict[str, float] = field(default_factory=dict)
    lent: dict[str, float] = field(default_factory=dict)
    extended: int = 0
    asked: int = 0

    def act(
        self, gateway: str, kept: Mapping[str, float], lent: Mapping[str, float], seconds: float
    ) -> None:
        assert gateway == "public"
        assert not lent or seconds > 0
        self.kept, self.lent = dict(kept), dict(lent)

    def extend(self, gateway: str, seconds: float) -> None:
        assert gateway == "public"
        self.extended += seconds > 0

    def has_applied(self, gateway: str) -> bool:
        return gateway == "public"

    def next_change(self) -> asyncio.Event:
        return asyncio.Event()

    async def counters(self) -> Mapping[tuple[str, str], int]:
        self.asked += 1000
        return {("public", "q"): self.asked}


@dataclass
class Node:
    """A node over a store, and what its moreton.yaml says."""

    store: Store
    proxy: Told
    held: Held
    edited: asyncio.Event = field(default_factory=asyncio.Event)

    def edit(self, held: Held) -> None:
        self.held, edited, self.edited = held, self.edited, asyncio.Event()
        edited.set()

    async def report(self) -> Report | None:
        found = await self.store.range(report_key("a/public"))
        return decode_report(found.kvs[0].value) if found.kvs else None


@contextlib.asynccontextmanager
async def running(held: Held) -> AsyncIterator[Node]:
    store = open_memory_store()
    node = Node(store, Told(), held)
    holdings = Holdings(
        store,
        node.proxy,
        node="a",
        held=lambda: (node.held, node.edited),
        clock=SystemClock(),
        troubles=Quiet(),
    )
    await holdings.load()
    task = asyncio.create_task(holdings.run())
    try:
        yield node
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await store.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def reported(node: Node, wanted: Callable[[Report], object]) -> Report:
    async with asyncio.timeout(10):
        while True:
            found = await node.report()
            if found is not None and wanted(found):
                return found
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("first", [KEPT, {}])
async def test_a_node_reports_and_acts_by_what_it_is_granted(first: Held) -> None:
    async with running(first) as node:
        node.edit(KEPT)
        await until(lambda: node.proxy.kept == {"q": FLOOR})
        report = await reported(node, lambda each: each.holds == {"q": FLOOR})
        grants = Grants(1, {"q": {"a/public": 0.4}}, {}, {"a/public": report.life})
        await node.store.put(GRANTS, encode_grants(grants))
        await until(lambda: node.proxy.kept == {"q": 0.4})
        # What is asked is told once the limit is shared, without an order.
        await reported(node, lambda each: each.seen == 1 and each.demand["q"] > 0)


async def test_what_ends_in_an_outage_is_lent_and_extended() -> None:
    async with running(LENT) as node:
        await until(lambda: node.proxy.lent == {"q": FLOOR})
        assert node.proxy.kept == {"q": CLOSED}
        await until(lambda: node.proxy.extended)


async def test_a_gateway_without_shared_limits_takes_its_report_back() -> None:
    async with running(KEPT) as node:
        await reported(node, lambda _: True)
        node.edit({})
        async with asyncio.timeout(10):
            while await node.report() is not None:
                await asyncio.sleep(0.005)
        assert node.proxy.kept == {}


async def test_a_lease_that_ended_begins_another_life() -> None:
    async with running(KEPT) as node:
        first = await reported(node, lambda _: True)
        await node.store.revoke(first.life)  # type: ignore[arg-type]  # a lease's number
        second = await reported(node, lambda each: each.life != first.life)
        assert second.holds == {"q": FLOOR}


async def test_what_was_overwritten_by_an_attempt_that_came_late_is_said_again() -> None:
    async with running(KEPT) as node:
        said = await reported(node, lambda _: True)
        late = replace(said, holds={"q": 0.7})
        await node.store.put(report_key("a/public"), encode_report(late))
        assert (await reported(node, lambda each: each.holds != late.holds)).life == said.life
