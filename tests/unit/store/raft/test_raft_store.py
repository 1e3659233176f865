"""A store that is a cluster: what holds at every node, and while nodes are lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from moreton.consensus.host import HostSettings
from moreton.sim.store.subject import changes, next_batch
from moreton.store import Compare, Delete, Put, Range
from moreton.store.core.keys import NO_END
from moreton.store.errors import Compacted, RequestTooLarge, StoreClosed
from moreton.store.host import HISTORY_EVENTS_KEPT
from moreton.store.raft.core.address import Reads
from moreton.store.raft.errors import ClusterUnreachable, NodeBusy, NodeStopped, RaftAnswerLost
from moreton.store.raft.store import RaftStore
from unit.store.raft.memory_cluster import FAST, MemoryCluster, memory_cluster

pytestmark = pytest.mark.slow

IMPATIENT = HostSettings(timeout=timedelta(milliseconds=400))


async def cut_off(cluster: MemoryCluster, store: RaftStore) -> None:
    """Nobody hears *store* any more, and it has found out."""
    cluster.network.isolate(store.node.node)
    await cluster.until(lambda: store.node.status().raft.leader is None)


async def test_write_at_any_node_is_seen_by_a_read_at_any_other_that_begins_after_it() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        stores = list(cluster.stores.values())
        for number in range(60):
            writer, reader = stores[number % 3], stores[(number + 1 + number // 3 % 2) % 3]
            await writer.put(b"a", b"%d" % number)
            (kv,) = (await reader.range(b"a")).kvs
            assert kv.value == b"%d" % number


async def test_conditions_hold_across_nodes_that_write_at_once() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        free = [Compare.version(b"leader", "=", 0)]
        tries = [
            store.txn(free, [Put(b"leader", b"%d" % node)])
            for node, store in cluster.stores.items()
            for _ in range(10)
        ]
        won = [result.succeeded for result in await asyncio.gather(*tries)]
        assert sum(won) == 1


async def test_transaction_that_only_reads_is_not_written_to_the_log() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        store = await cluster.leader()
        await store.put(b"a", b"1")
        before = store.node.status().raft.last_index
        result = await store.txn([Compare.value(b"a", "=", b"1")], [Range(b"a")], [])
        assert result.succeeded
        assert result.revision == 2
        assert store.node.status().raft.last_index == before


async def test_writes_go_on_by_themselves_when_the_leader_is_lost() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        lost = await cluster.leader()
        others = [store for store in cluster.stores.values() if store is not lost]
        await lost.put(b"n", b"0")
        cluster.network.isolate(lost.node.node)
        # Nobody tells these writers; each is answered, and carried out once.
        writes = [store.txn(then=[Put(b"%d" % n, b"x")]) for store in others for n in range(20)]
        revisions = [result.revision for result in await asyncio.gather(*writes)]
        assert sorted(revisions) == list(range(3, 43))
        assert lost.node.node not in {store.node.status().raft.leader for store in others}


async def test_node_without_a_majority_answers_nothing_that_may_be_old() -> None:
    async with memory_cluster(1, 2, 3, bounds=IMPATIENT) as cluster:
        store = await cluster.leader()
        lease = await store.grant(timedelta(hours=1))
        await store.put(b"a", b"1")
        await cut_off(cluster, store)
        for request in (store.range(b"a"), store.txn(then=[Range(b"a")])):
            with pytest.raises(ClusterUnreachable, match="no majority"):
                await request
        with pytest.raises(ClusterUnreachable):
            await store.keep_alive(lease)
        with pytest.raises((ClusterUnreachable, RaftAnswerLost)):
            await store.put(b"a", b"2")


async def test_local_reads_are_answered_without_a_majority_and_writes_are_not() -> None:
    async with memory_cluster(1, 2, 3, bounds=IMPATIENT) as cluster:
        await (await cluster.leader()).put(b"a", b"1")
        follower = (await cluster.followers())[0]
        await follower.range(b"a")
        local = RaftStore(follower.node, reads=Reads.LOCAL)
        await cut_off(cluster, follower)
        assert [kv.value for kv in (await local.range(b"a")).kvs] == [b"1"]
        with pytest.raises(ClusterUnreachable):
            await local.txn(then=[Range(b"a")])


async def test_watch_is_taken_up_again_at_another_node_without_loss_or_repeat() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        stores = list(cluster.stores.values())
        last, seen = 1, []
        for turn in range(9):
            await stores[turn % 3].put(b"a", b"%d" % turn)
            store = stores[(turn + 1) % 3]
            async with store.watch(b"a", from_revision=last + 1) as watch:
                batch = await next_batch(watch)
            last = batch.revision
            seen.append(batch.events[0].kv.value)
        assert seen == [b"%d" % turn for turn in range(9)]


async def test_watch_from_now_begins_after_every_write_that_was_answered_anywhere() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        leader = await cluster.leader()
        follower = (await cluster.followers())[0]
        for number in range(20):
            await leader.put(b"a", b"old")
            async with follower.watch(b"a") as watch:
                await leader.put(b"a", b"%d" % number)
                assert changes(await next_batch(watch)) == [("put", b"a", b"%d" % number)]


async def test_lagging_node_that_gets_a_snapshot_shows_its_watches_what_is_in_it() -> None:
    bounds, settings = HostSettings(snapshot_entries=20), replace(FAST, kept_entries=0)
    async with memory_cluster(1, 2, 3, bounds=bounds, settings=settings) as cluster:
        leader = await cluster.leader()
        follower = (await cluster.followers())[0]
        await follower.put(b"a", b"0")
        async with follower.watch(b"a") as sleeping, follower.watch(b"b", NO_END) as other:
            cluster.network.isolate(follower.node.node)
            reading = asyncio.create_task(next_batch(sleeping))
            await asyncio.sleep(0)
            for number in range(1, 301):
                await leader.put(b"a" if number % 50 == 0 else b"c", b"%d" % number)
            behind = follower.node.status().raft.last_index
            cluster.network.heal()
            found = [await reading] + [await next_batch(sleeping) for _ in range(5)]
            assert [batch.events[0].kv.value for batch in found] == [
                b"%d" % number for number in range(50, 350, 50)
            ]
            assert (await next_batch(other)).events[0].kv.value == b"1"
        # The fault happened: what it lacked was not in the leader's log any more.
        assert follower.node.status().snapshot_index > behind


async def test_history_is_bounded_on_every_node_alike() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        store = await cluster.leader()
        # Each makes 200 events: the bound is reached by 60 of them.
        for _ in range(60):
            puts = [Put(b"%d" % number, b"x") for number in range(100)]
            await store.txn(then=puts)
            await store.txn(then=[Delete(b"", NO_END)])
        await cluster.until(lambda: store.statistics().compact_revision)
        await store.put(b"last", b"1")
        for other in cluster.stores.values():
            await other.range(b"last")
        held = {
            (one.statistics().compact_revision, one.statistics().history_events)
            for one in cluster.stores.values()
        }
        assert len(held) == 1
        assert store.statistics().history_events <= HISTORY_EVENTS_KEPT * 1.2
        with pytest.raises(Compacted):
            await (await cluster.followers())[0].range(b"a", revision=1)


async def test_restarted_cluster_has_everything_that_was_answered() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        for number in range(50):
            await cluster.stores[1 + number % 3].put(b"%02d" % number, b"x")
        await asyncio.gather(*(store.close() for store in cluster.stores.values()))
        for node in (1, 2, 3):
            cluster.open(node)
        found = await cluster.stores[2].range(b"", NO_END)
        assert [kv.key for kv in found.kvs] == [b"%02d" % number for number in range(50)]
        assert found.revision == 51


async def test_leader_that_is_closed_hands_over_without_an_election_timeout() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        leader = await cluster.leader()
        follower = (await cluster.followers())[0]
        await follower.put(b"a", b"1")
        term = leader.node.status().raft.term
        await leader.close()
        await follower.put(b"a", b"2")
        assert follower.node.status().raft.term == term + 1
        del cluster.stores[leader.node.node]


async def test_closed_store_refuses_and_ends_its_watches() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        store = await cluster.leader()
        async with store.watch(b"a") as watch:
            reading = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(0)
            await store.close()
            await store.close()
            with pytest.raises(StoreClosed):
                await reading
        for request in (store.range(b"a"), store.put(b"a", b"1"), store.grant(timedelta(1))):
            with pytest.raises(StoreClosed):
                await request


async def test_node_whose_disk_fails_says_so_and_the_others_go_on() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        broken = (await cluster.followers())[0]
        cluster.disks[broken.node.node].fail = OSError(5, "Input/output error")
        leader = await cluster.leader()
        await leader.put(b"a", b"1")
        await cluster.until(lambda: broken.node.status().error)
        for request in (broken.range(b"a"), broken.put(b"a", b"2")):
            with pytest.raises(NodeStopped, match="Input/output error"):
                await request
        assert await leader.put(b"a", b"3") == 3


async def test_node_goes_on_when_what_it_does_beside_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail() -> None:
        raise OSError("the folder is gone")

    async with memory_cluster(1) as cluster:
        node = cluster.stores[1].node
        node.beside(fail())
        await cluster.until(lambda: "the folder is gone" in caplog.text)
        assert await cluster.stores[1].put(b"a", b"1") == 2


async def test_what_a_node_takes_in_no_more_is_an_error_of_the_store() -> None:
    few = HostSettings(timeout=timedelta(seconds=10), reads_max=1, command_bytes_max=1000)
    async with memory_cluster(1, bounds=few) as cluster:
        store = await cluster.leader()
        found = await asyncio.gather(store.range(b"a"), store.range(b"b"), return_exceptions=True)
        assert isinstance(found[1], NodeBusy)
        with pytest.raises(RequestTooLarge):
            await store.put(b"a", b"x" * 1000)
