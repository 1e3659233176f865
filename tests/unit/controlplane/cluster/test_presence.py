"""What a node tells of itself, on a real store in memory whose time is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from moreton.controlplane.assembly.troubles import Troubles
from moreton.controlplane.cluster.errors import NodeNameTaken, StoreSilent
from moreton.controlplane.cluster.presence import NODE_TTL, Presence
from moreton.controlplane.cluster.roster import Roster
from moreton.controlplane.core.nodes import PREFIX, Node
from moreton.controlplane.core.objects import Kind, ObjectKey
from moreton.controlplane.errors import Rejected
from moreton.kernel.time import SystemClock
from moreton.store import LeaseId, Store, open_store, prefix_end
from moreton.store.errors import StoreError
from moreton.store.raft.errors import NodeStopped
from moreton.testing.clock import VirtualClock

ROUTE = ObjectKey(Kind.ROUTE, "r")


class Hasty(VirtualClock):
    """A clock by which much time passes between two looks."""

    def now(self) -> object:  # type: ignore[override]
        self.advance(NODE_TTL)
        return super().now()


@dataclass(slots=True)
class Told:
    """One node: what it says, and its presence."""

    store: Store
    node: Node
    objects: dict[str, str] = field(default_factory=dict)
    troubles: Troubles = field(default_factory=Troubles)
    presence: Presence = field(init=False)

    def __post_init__(self) -> None:
        self.presence = self.with_clock(SystemClock())

    def with_clock(self, clock: SystemClock | VirtualClock) -> Presence:
        return Presence(
            self.store,
            about=lambda: self.node,
            objects=lambda: self.objects,
            clock=clock,
            troubles=self.troubles,
        )

    def say(self, **news: object) -> None:
        self.node = replace(self.node, **news)  # type: ignore[arg-type]
        self.presence.touch()


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    opened = open_store("memory:")
    yield opened
    await opened.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


async def keys(store: Store) -> list[bytes]:
    found = await store.range(PREFIX, prefix_end(PREFIX))
    return [kv.key for kv in found.kvs]


async def test_node_is_there_from_when_it_enters_and_gone_when_it_ends(store: Store) -> None:
    one = Told(store, Node("a", "home a"))
    await one.presence.enter()
    assert len(await keys(store)) == 2
    running = asyncio.create_task(one.presence.run())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await keys(store) == []


async def test_all_hear_what_is_new_and_how_far_each_is(store: Store) -> None:
    one, other = Told(store, Node("a", "home a")), Told(store, Node("b", "home b"))
    roster = Roster(store, troubles=Troubles())
    for each in (one, other):
        await each.presence.enter()
    work = (one.presence.run(), other.presence.run(), roster.run())
    tasks = [asyncio.create_task(each) for each in work]
    await until(lambda: [node.name for node in roster.nodes()] == ["a", "b"])
    one.say(applied=7)
    waiting = asyncio.create_task(roster.wait_applied(ROUTE, 7))
    await until(lambda: roster.behind(7) == ["b"])
    assert not waiting.done()
    other.say(applied=9)
    await waiting
    one.say(applied=10, rejected={str(ROUTE): "bad regex"})
    other.say(applied=10)
    with pytest.raises(Rejected, match="on node a: bad regex"):
        await roster.wait_applied(ROUTE, 10)
    tasks[1].cancel()  # a node that left is waited for no more
    one.say(applied=20)
    await roster.wait_applied(ObjectKey(Kind.ROUTE, "other"), 20)
    assert [node.name for node in roster.nodes()] == ["a"]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_nodes_whose_files_differ_are_a_trouble_until_they_do_not(store: Store) -> None:
    one = Told(store, Node("a", "home a"), {'route "r"': "1"})
    other = Told(store, Node("b", "home b"), {'route "r"': "2"})
    troubles = Troubles()
    roster = Roster(store, troubles=troubles)
    for each in (one, other):
        await each.presence.enter()
    tasks = [asyncio.create_task(each) for each in (other.presence.run(), roster.run())]
    await until(lambda: "moreton.yaml" in troubles.now())
    assert 'route "r": one on a, another on b' in troubles.now()["moreton.yaml"]
    other.objects = dict(one.objects)
    other.presence.touch()
    await until(lambda: "moreton.yaml" not in troubles.now())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_name_of_a_living_node_is_refused_and_its_word_stands(store: Store) -> None:
    one = Told(store, Node("a", "home a", pid=4711, host="one", api="http://10.0.0.1:7400"))
    await one.presence.enter()
    other = Told(store, Node("a", "home b"))
    revision = store.statistics().revision
    with pytest.raises(
        NodeNameTaken, match=r"process 4711 on one with its API at http://10\.0\.0\.1:7400"
    ):
        await other.with_clock(Hasty()).enter()
    assert store.statistics().revision == revision
    assert store.statistics().leases == 1


async def test_node_that_was_killed_takes_its_own_place_again_at_once(store: Store) -> None:
    await Told(store, Node("a", "home a", pid=1, host="one")).presence.enter()
    again = Told(store, Node("a", "home a", pid=2, host="one"))
    await again.with_clock(Hasty()).enter()  # which would be too late for any wait
    copied = Told(store, Node("a", "home a", pid=2, host="two"))
    with pytest.raises(NodeNameTaken):
        await copied.with_clock(Hasty()).enter()


async def test_node_whose_lease_ended_enters_again(store: Store) -> None:
    one = Told(store, Node("a", "home a"))
    await one.presence.enter()
    found = await store.range(PREFIX, prefix_end(PREFIX))
    lease = found.kvs[0].lease
    assert lease is not None
    await store.revoke(lease)  # as after a pause that was too long
    assert await keys(store) == []
    running = asyncio.create_task(one.presence.run())
    one.say(applied=3)
    async with asyncio.timeout(30):
        while len(await keys(store)) != 2:
            await asyncio.sleep(0.001)
    assert not one.troubles.now()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


class Flaky:
    """A store whose first grants fail, as while its members choose a leader."""

    def __init__(self, store: Store, failures: int, error: StoreError) -> None:
        self.store = store
        self.failures = failures
        self.error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def grant(self, ttl: timedelta, *, lease: LeaseId | None = None) -> LeaseId:
        self.failures -= 1
        if self.failures >= 0:
            raise self.error
        return await self.store.grant(ttl, lease=lease)


async def test_node_enters_once_the_store_is_there_again_and_not_if_it_never_will(
    store: Store,
) -> None:
    flaky = Flaky(store, 1, StoreSilent(seconds=4))
    await Told(flaky, Node("a", "home a")).presence.enter()
    assert flaky.failures == -1
    assert len(await keys(store)) == 2
    gone = Flaky(store, 9, NodeStopped(node=1, reason="its disk failed"))
    with pytest.raises(NodeStopped):
        await Told(gone, Node("b", "home b")).presence.enter()
    assert gone.failures == 8
    long = Flaky(store, 9, StoreSilent(seconds=4))
    with pytest.raises(StoreSilent):
        await Told(long, Node("b", "home b")).with_clock(Hasty()).enter()


def test_time_to_live_leaves_room_for_renewals() -> None:
    assert timedelta(seconds=2) <= NODE_TTL / 3
