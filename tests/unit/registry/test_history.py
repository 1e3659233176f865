from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from moreton.kernel.time import Instant
from moreton.registry import Instance, InstanceId, Registry
from moreton.registry import history as module
from moreton.registry.core.checks import Check, HttpProbe
from moreton.registry.core.history import Event, EventKind, decode, encode
from moreton.registry.core.instance import TTL_MIN
from moreton.registry.core.standing import CheckResult, CheckStatus, Health, InstanceState, Order
from moreton.registry.history import KEPT, History
from moreton.store import Compare, Store, TxnResult, open_store
from moreton.store.core.model import Op

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ONE = Instance(InstanceId("1"), "shop", "10.0.0.1", 80)
CHECK = Check("http", HttpProbe("/health"), initial=CheckStatus.PASSING)
CHECKED = replace(ONE, checks=(CHECK,))
DRAIN = Order(InstanceState.DRAINING, NOW, reason="new disk", by="me@here")
SICK = Health((CheckResult("http", CheckStatus.CRITICAL, NOW, "status 500"),))
WELL = Health((CheckResult("http", CheckStatus.PASSING, NOW),))


class HandClock:
    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> Instant:
        return Instant(round(self.moment.timestamp() * 1e9))

    def wall(self) -> datetime:
        return self.moment


class House:
    """A registry, its history, and whoever keeps that."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = HandClock()
        self.registry = Registry(store)
        self.history = History(store, clock=self.clock)
        self.writes = 0

    async def write(self, then: Sequence[Op], *, compare: Sequence[Compare] = ()) -> TxnResult:
        self.writes += 1
        return await self.store.txn(compare, then)

    @asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.history.keep(self.write))
        while self.store.statistics().watches == 0:
            await asyncio.sleep(0)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def events(self, count: int, service: str | None = None) -> list[Event]:
        since = NOW - timedelta(days=9)
        async with asyncio.timeout(10):
            while len(found := await self.history.read(since=since, service=service)) < count:
                await asyncio.sleep(0.01)
        return found

    async def told(self, count: int) -> list[tuple[str, str, str]]:
        return [(each.kind.value, each.by, each.why) for each in await self.events(count)]


@pytest.fixture
async def house(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr(module, "_GATHER_SECONDS", 0.0)
    store = open_store("memory:")
    yield House(store)
    await store.close()


async def test_what_happens_to_an_instance_is_told_with_who_and_why(house: House) -> None:
    async with house.keeping():
        await house.registry.register(CHECKED, ttl=TTL_MIN)
        await house.registry.register(replace(CHECKED, weight=3), ttl=TTL_MIN)
        await house.registry.set_order("shop", "1", DRAIN)
        await house.registry.clear_order("shop", "1")
        await house.registry.telling(house.write).health({("shop", ONE.id): SICK})
        await house.registry.telling(house.write).health({("shop", ONE.id): WELL})
        draining = replace(CHECKED, weight=3, state=InstanceState.DRAINING)
        await house.registry.register(draining, ttl=TTL_MIN)
        await house.registry.deregister("shop", "1", by="me", why="enough")
        assert await house.told(8) == [
            ("registered", "http", ""),
            ("updated", "http", "another weight"),
            ("order-set", "me@here", "draining: new disk"),
            ("order-cleared", "", "draining is over"),
            ("critical", "checks", "check http: status 500"),
            ("back", "checks", "check http passes"),
            ("updated", "http", "it says that it is draining, it was serving"),
            ("left", "me", "enough"),
        ]


async def test_end_of_a_lease_is_told_apart_from_leaving(house: House) -> None:
    async with house.keeping():
        held = await house.registry.register(ONE, ttl=TTL_MIN)
        assert held.lease is not None
        await house.store.revoke(held.lease)
        assert (await house.told(2))[1] == ("lease-ended", "", "it did not renew")


async def test_renewals_write_nothing(house: House) -> None:
    async with house.keeping():
        await house.registry.register(ONE, ttl=TTL_MIN)
        await house.events(1)
        before = house.store.statistics().revision, house.writes
        for _ in range(50):
            await house.registry.renew("shop", "1")
        assert (house.store.statistics().revision, house.writes) == before


async def test_changes_that_come_together_are_written_together(house: House) -> None:
    async with house.keeping():
        await house.events(0)
        before = house.writes
        async with asyncio.TaskGroup() as tasks:
            for number in range(60):
                one = replace(ONE, id=InstanceId(str(number)), port=8000 + number)
                tasks.create_task(house.registry.register(one, ttl=TTL_MIN))
        await house.events(60)
        assert house.writes - before < 30


async def test_next_keeper_goes_on_where_the_last_one_stopped(house: House) -> None:
    async with house.keeping():
        await house.registry.register(ONE, ttl=TTL_MIN)
        await house.events(1)
    await house.registry.set_order("shop", "1", DRAIN)
    await house.registry.deregister("shop", "1")
    async with house.keeping():
        kinds = [kind for kind, _, _ in await house.told(3)]
        assert kinds == ["registered", "order-set", "left"]
    async with house.keeping():
        await house.registry.register(ONE, ttl=TTL_MIN)
        assert len(await house.events(4)) == 4, "nothing is told twice"


async def test_keeper_goes_on_from_now_when_what_happened_is_forgotten(house: House) -> None:
    async with house.keeping():
        await house.registry.register(ONE, ttl=TTL_MIN)
        await house.events(1)
    await house.registry.set_order("shop", "1", DRAIN)
    await house.store.compact(house.store.statistics().revision)
    async with house.keeping():
        await house.registry.clear_order("shop", "1")
        kinds = [kind for kind, _, _ in await house.told(2)]
        assert kinds == ["registered", "order-cleared"]


async def test_events_of_more_than_a_day_ago_are_forgotten(house: House) -> None:
    old = Event(NOW - KEPT - timedelta(seconds=1), EventKind.DRAINED, "shop", "1")
    young = Event(NOW - KEPT + timedelta(minutes=1), EventKind.DRAINED, "shop", "1")
    await house.history.add(old)
    await house.history.add(young)
    async with house.keeping():
        async with asyncio.timeout(10):
            while len(await house.events(1)) > 1:
                await asyncio.sleep(0.01)
    assert await house.events(1) == [young]


async def test_oldest_events_are_forgotten_beyond_the_bound(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVENTS_MAX", 3)
    told = [Event(NOW + timedelta(seconds=n), EventKind.BACK, "shop", str(n)) for n in range(5)]
    for each in told:
        await house.history.add(each)
    async with house.keeping():
        async with asyncio.timeout(10):
            while len(await house.events(3)) > 3:
                await asyncio.sleep(0.01)
    assert await house.events(3) == told[2:]


async def test_events_of_one_service_are_the_last_ones_in_order(house: House) -> None:
    for number in range(5):
        service = "shop" if number % 2 else "mail"
        await house.history.add(
            Event(NOW + timedelta(seconds=number), EventKind.BACK, service, str(number))
        )
    found = await house.history.read(since=NOW + timedelta(seconds=1), service="mail", limit=1)
    assert [each.id for each in found] == ["4"]
    found = await house.history.read(since=NOW + timedelta(seconds=1))
    assert [each.id for each in found] == ["1", "2", "3", "4"]


async def test_follower_is_told_what_happens_from_then_on(house: House) -> None:
    await house.history.add(Event(NOW, EventKind.BACK, "shop", "before"))
    following = house.history.follow("shop")
    coming = asyncio.ensure_future(anext(following))
    while house.store.statistics().watches == 0:
        await asyncio.sleep(0)
    await house.history.add(Event(NOW, EventKind.BACK, "mail", "other"))
    await house.history.add(Event(NOW, EventKind.BACK, "shop", "now"))
    assert (await coming).id == "now"
    await following.aclose()


def test_events_are_read_as_they_were_written() -> None:
    event = Event(NOW, EventKind.LEFT, "shop", "1", "10.0.0.1:80", "me", "why")
    assert decode(encode([event, replace(event, id="", why="")])) == [
        event,
        replace(event, id="", why=""),
    ]
    assert decode(b"{") == decode(b"{}") == decode(b"[1, {}]") == []
    assert decode(encode([event]).replace(b'"left"', b'"levitated"')) == []
