"""Leases of a cluster: the leader times them, and nobody's lease ends too early."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from moreton.consensus.host import HostSettings
from moreton.kernel.time import Instant, SystemClock
from moreton.sim.store.subject import changes, next_batch
from moreton.store import LeaseId
from moreton.store.errors import LeaseNotFound
from moreton.store.raft.core.commands import Expire
from moreton.store.raft.errors import ClusterUnreachable
from moreton.store.raft.store import RaftStore
from unit.store.raft.memory_cluster import memory_cluster

pytestmark = pytest.mark.slow

TTL = timedelta(milliseconds=400)
WEEK = timedelta(weeks=1)


class SteppedClock:
    """The system's, and a step ahead when a test says so: as after a suspension."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self.ahead = timedelta(0)

    def now(self) -> Instant:
        return self._clock.now() + self.ahead

    def wall(self) -> datetime:
        return self._clock.wall()


async def test_renewals_write_nothing_to_the_log() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        store = (await cluster.followers())[0]
        lease = await store.grant(TTL * 100)
        leader = await cluster.leader()
        before = leader.node.status().raft.last_index
        for _ in range(50):
            assert await store.keep_alive(lease) == TTL * 100
        assert leader.node.status().raft.last_index == before


async def test_renewals_at_once_share_a_question_to_the_leader() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        store = (await cluster.followers())[0]
        leases = await asyncio.gather(*(store.grant(WEEK) for _ in range(200)))
        leader = await cluster.leader()
        asked = 0
        answer = leader.node._answer

        async def counted(source: int, question: bytes) -> bytes:
            nonlocal asked
            asked += 1
            return await answer(source, question)

        leader.node.host._answer = counted
        assert await asyncio.gather(*(store.keep_alive(one) for one in leases)) == [WEEK] * 200
        assert asked <= 2


@pytest.mark.parametrize("said", [b"", bytes(8), bytes(24), b"odd"], ids=len)
async def test_leader_that_answers_something_else_leaves_nobody_waiting(said: bytes) -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        store = (await cluster.followers())[0]
        leases = [await store.grant(WEEK) for _ in range(2)]
        leader = await cluster.leader()

        async def odd(_source: int, _question: bytes) -> bytes:
            return said

        answer = leader.node.host._answer
        leader.node.host._answer = odd
        asking = [store.keep_alive(one) for one in leases]
        async with asyncio.timeout(30):
            found = await asyncio.gather(*asking, return_exceptions=True)
        assert [type(one) for one in found] == [ClusterUnreachable] * 2
        leader.node.host._answer = answer
        assert await store.keep_alive(leases[0]) == WEEK


async def test_lease_that_is_renewed_outlives_a_change_of_leader() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        leader = await cluster.leader()
        store = (await cluster.followers())[0]
        lease = await store.grant(TTL)
        await store.put(b"a", b"1", lease=lease)
        loop = asyncio.get_running_loop()
        end = loop.time() + 4 * TTL.total_seconds()
        cluster.network.isolate(leader.node.node)
        renewals = 0
        while loop.time() < end:
            await store.keep_alive(lease)
            renewals += 1
            await asyncio.sleep(TTL.total_seconds() / 10)
        assert renewals > 4
        assert store.node.status().raft.leader != leader.node.node
        assert (await store.range(b"a")).count == 1


async def test_lease_that_nobody_renews_ends_after_a_change_of_leader_too() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        leader = await cluster.leader()
        store = (await cluster.followers())[0]
        lease = await store.grant(TTL)
        revision = await store.put(b"a", b"1", lease=lease)
        cluster.network.isolate(leader.node.node)
        async with store.watch(b"a", from_revision=revision + 1) as watch:
            assert changes(await next_batch(watch)) == [("delete", b"a", b"")]
        with pytest.raises(LeaseNotFound):
            await store.keep_alive(lease)


async def test_new_leader_gives_every_lease_its_whole_time_anew() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        leader = await cluster.leader()
        store = (await cluster.followers())[0]
        ttl = timedelta(seconds=1)
        lease = await store.grant(ttl)
        revision = await store.put(b"a", b"1", lease=lease)
        await asyncio.sleep(ttl.total_seconds() * 0.7)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await leader.node.host.transfer(store.node.node)
        async with store.watch(b"a", from_revision=revision + 1) as watch:
            await next_batch(watch)
        assert loop.time() - begun >= ttl.total_seconds()


async def test_deposed_leader_neither_renews_nor_ends_a_lease() -> None:
    bounds = HostSettings(timeout=timedelta(milliseconds=400))
    async with memory_cluster(1, 2, 3, bounds=bounds) as cluster:
        deposed = await cluster.leader()
        others = [store for store in cluster.stores.values() if store is not deposed]
        lease = await deposed.grant(TTL)
        await deposed.put(b"a", b"1", lease=lease)
        term = deposed.node.status().raft.term
        cluster.network.isolate(deposed.node.node)
        with pytest.raises(ClusterUnreachable):
            await deposed.keep_alive(lease)
        loop = asyncio.get_running_loop()
        end = loop.time() + 3 * TTL.total_seconds()
        while loop.time() < end:
            await others[0].keep_alive(lease)
            await asyncio.sleep(TTL.total_seconds() / 10)
        cluster.network.heal()
        # What it would have said, had it not known yet: passed on to the leader, it is void.
        await deposed.node.propose(Expire((lease,), term))
        assert (await deposed.range(b"a")).count == 1
        assert await others[1].keep_alive(lease) == TTL


async def test_leader_that_was_stopped_lets_leases_live_when_it_goes_on() -> None:
    clock = SteppedClock()
    async with memory_cluster(1, 2, 3, clock=clock) as cluster:
        store = await cluster.leader()
        lease = await store.grant(timedelta(seconds=30))
        await store.put(b"a", b"1", lease=lease)
        # Every clock of the cluster jumps: nobody could renew meanwhile.
        clock.ahead += timedelta(hours=1)
        assert await store.keep_alive(lease) == timedelta(seconds=30)
        assert (await store.range(b"a")).count == 1


async def test_lease_that_is_not_there_is_told_apart_from_others_of_the_same_question() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        store = (await cluster.followers())[0]
        lease = await store.grant(WEEK)
        found = await asyncio.gather(
            store.keep_alive(LeaseId(5)),
            store.keep_alive(lease),
            store.keep_alive(LeaseId(-1)),
            store.keep_alive(LeaseId(1 << 70)),
            return_exceptions=True,
        )
        assert found[1] == WEEK
        assert [type(one) for one in found] == [
            LeaseNotFound,
            timedelta,
            LeaseNotFound,
            LeaseNotFound,
        ]


async def test_renewals_go_on_at_the_next_leader_while_one_stops() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        leader, followers = await cluster.leader(), await cluster.followers()
        lease = await followers[0].grant(WEEK)
        is_over = False

        async def renew(store: RaftStore) -> None:
            while not is_over:
                await store.keep_alive(lease)

        renewing = [asyncio.create_task(renew(store)) for store in followers]
        await asyncio.sleep(0)
        await leader.close()
        assert await followers[0].keep_alive(lease) == WEEK
        is_over = True
        await asyncio.gather(*renewing)
