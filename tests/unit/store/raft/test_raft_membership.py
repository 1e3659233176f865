"""Who belongs to a cluster: let in, made voters, let go, and never so that nobody can decide."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from moreton.consensus.core.messages import NodeId
from moreton.consensus.host import HostSettings, TransferFailed
from moreton.store.raft.errors import (
    AddressTaken,
    ClusterUnreachable,
    LastVoter,
    MajorityAtRisk,
    NodeStopped,
    UnknownMember,
)
from moreton.store.raft.store import RaftStore
from unit.consensus.memory_ports import MemoryDisk
from unit.store.raft.memory_cluster import MemoryCluster, memory_cluster

pytestmark = pytest.mark.slow


async def join(cluster: MemoryCluster, address: str, *, at: RaftStore) -> NodeId:
    """A new node at *address*, let in by *at* and running."""
    admitted = await at.node.admit(address)
    cluster.addresses = admitted.addresses
    await cluster.open(admitted.node).node.wait_started()
    return admitted.node


def voters(store: RaftStore) -> list[NodeId]:
    return sorted(store.node.status().raft.configuration.voters)


async def test_cluster_grows_from_one_node_to_three_and_keeps_what_it_has() -> None:
    async with memory_cluster(1) as cluster:
        first = cluster.stores[1]
        await first.put(b"a", b"1")
        for number in (2, 3):
            assert await join(cluster, f"memory:{number}", at=cluster.stores[number - 1]) == number
        await cluster.until(lambda: len(voters(first)) == 3)
        assert voters(first) == [1, 2, 3]
        for store in cluster.stores.values():
            assert (await store.range(b"a")).count == 1
        # It does not hang on the first node any more.
        cluster.network.isolate(1)
        await cluster.stores[3].put(b"b", b"2")


async def test_node_that_has_not_caught_up_does_not_vote() -> None:
    async with memory_cluster(1) as cluster:
        admitted = await cluster.stores[1].node.admit("memory:2")
        # It was never started: were it a voter, nothing could be written.
        for number in range(20):
            await cluster.stores[1].put(b"a", b"%d" % number)
            await asyncio.sleep(0.02)
        assert voters(cluster.stores[1]) == [1]
        assert admitted.node in cluster.stores[1].node.status().raft.configuration.learners


async def test_number_of_a_node_that_left_is_never_given_again() -> None:
    async with memory_cluster(1) as cluster:
        store = cluster.stores[1]
        for expected in (2, 3, 4):
            admitted = await store.node.admit("memory:8")
            assert admitted.node == expected
            await store.node.dismiss(admitted.node)
        assert store.node.status().addresses == {1: "memory:1"}


async def test_who_asks_to_join_again_before_it_ran_replaces_its_first_attempt() -> None:
    async with memory_cluster(1) as cluster:
        store = cluster.stores[1]
        await store.node.admit("memory:2")
        admitted = await store.node.admit("memory:2")
        assert admitted.node == 3
        assert store.node.status().raft.configuration.learners == frozenset({3})


async def test_address_of_a_member_is_refused_to_another() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        store = (await cluster.followers())[0]
        with pytest.raises(AddressTaken, match="node 2 of this cluster is at memory:2"):
            await store.node.admit("memory:2")
        assert sorted(store.node.status().addresses) == [1, 2, 3]


async def test_last_voter_cannot_be_removed() -> None:
    async with memory_cluster(1) as cluster:
        store = cluster.stores[1]
        with pytest.raises(LastVoter, match="node 1 is the last voter"):
            await store.node.dismiss(1)
        await store.node.admit("memory:2")
        with pytest.raises(LastVoter):
            await store.node.dismiss(1, at_any_risk=True)
        assert await store.put(b"a", b"1") == 2


async def test_living_node_is_not_removed_when_the_dead_would_outvote_the_rest() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        leader = await cluster.leader()
        dead, living = await cluster.followers()
        await dead.close()
        with pytest.raises(MajorityAtRisk) as refused:
            await leader.node.dismiss(living.node.node)
        assert refused.value.silent == (dead.node.node,)
        await leader.node.dismiss(dead.node.node)
        await leader.put(b"a", b"1")
        await leader.node.dismiss(living.node.node)
        await leader.put(b"a", b"2")
        assert voters(leader) == [leader.node.node]


async def test_leader_that_is_to_leave_hands_over_and_goes() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        leaving = await cluster.leader()
        store = (await cluster.followers())[0]
        await store.node.dismiss(leaving.node.node)
        assert leaving.node.node not in voters(await cluster.leader())
        # Who asked hears it from the leader: the answer may be there before.
        await cluster.until(lambda: leaving.node.node not in voters(store))
        assert store.node.status().raft.leader != leaving.node.node
        await store.put(b"a", b"1")


async def test_node_that_never_was_cannot_leave_and_one_that_left_has_left() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        leader = await cluster.leader()
        gone = (await cluster.followers())[0].node.node
        with pytest.raises(UnknownMember, match="whose nodes are 1, 2, 3"):
            await leader.node.dismiss(9)
        await leader.node.dismiss(gone)
        await leader.node.dismiss(gone)


async def test_leadership_goes_where_it_is_asked_to_go() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        target = (await cluster.followers())[0]
        await (await cluster.followers())[1].node.transfer(target.node.node)
        await cluster.until(lambda: cluster.leading() == [target.node.node])
        with pytest.raises(UnknownMember):
            await target.node.transfer(7)


async def test_leadership_is_not_handed_to_a_node_that_does_not_vote() -> None:
    async with memory_cluster(1) as cluster:
        admitted = await cluster.stores[1].node.admit("memory:2")
        with pytest.raises(TransferFailed, match="not another voter"):
            await cluster.stores[1].node.transfer(admitted.node)


async def test_node_that_lost_its_disk_does_not_vote_under_its_old_number() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        lost = (await cluster.followers())[0]
        node = lost.node.node
        await lost.put(b"a", b"1")
        await lost.close()
        cluster.disks[node] = MemoryDisk()
        again = cluster.open(node)
        await again.node.wait_started()
        await cluster.until(lambda: again.node.status().error)
        with pytest.raises(NodeStopped, match=f"node {node} has stopped"):
            await again.range(b"a")
        leader = await cluster.leader()
        await leader.node.dismiss(node)
        joined = await join(cluster, "memory:99", at=leader)
        assert joined == 4
        await cluster.until(lambda: joined in voters(leader))
        assert (await cluster.stores[joined].range(b"a")).count == 1


async def test_membership_does_not_change_without_a_majority() -> None:
    bounds = HostSettings(timeout=timedelta(milliseconds=300))
    async with memory_cluster(1, 2, 3, bounds=bounds) as cluster:
        leader = await cluster.leader()
        cluster.network.isolate(leader.node.node)
        await cluster.until(lambda: leader.node.status().raft.leader is None)
        with pytest.raises(ClusterUnreachable):
            await leader.node.admit("memory:4")
        cluster.network.heal()
        assert sorted(leader.node.status().addresses) == [1, 2, 3]


async def test_node_that_moves_is_known_at_its_new_address() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        moving = (await cluster.followers())[0]
        await moving.node.move(moving.node.node, "memory:77")
        leader = await cluster.leader()
        assert leader.node.status().addresses[moving.node.node] == "memory:77"
        with pytest.raises(AddressTaken):
            await leader.node.move(leader.node.node, "memory:77")
