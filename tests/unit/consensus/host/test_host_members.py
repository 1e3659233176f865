"""Members come, go, move and hand over; ids and addresses are never anyone else's."""

from __future__ import annotations

import asyncio

import pytest

from moreton.consensus.core.configuration import ChangeKind, ConfigurationChange, NodeChange
from moreton.consensus.core.messages import Configuration, RequestVote
from moreton.consensus.host import (
    ChangeRefused,
    NodeFailed,
    OutcomeUnknown,
    TransferFailed,
    encode_addresses,
)
from unit.consensus.host.host_cluster import SOON, Cluster, change, cluster

ADD, LEARN, REMOVE = ChangeKind.ADD_VOTER, ChangeKind.ADD_LEARNER, ChangeKind.REMOVE


async def join(raft: Cluster, node: int) -> None:
    """*node* as a learner that has the log."""
    await raft.hosts[1].change(change(LEARN, node, f"node-{node}:7000"))
    await raft.start(node)
    await raft.hosts[1].propose(b"joined")
    await raft.until(lambda: raft.machines[node].commands[-1:] == ["joined"])


async def test_a_node_joins_by_any_member_and_becomes_a_voter() -> None:
    async with cluster(1, 2, 3) as raft:
        await raft.hosts[1].propose(b"x")
        for host in list(raft.hosts.values()):
            assert host.status().next_node == 4
        (follower, _) = await raft.followers()
        await raft.hosts[follower].change(change(LEARN, 4, "node-4:7000"))
        await raft.start(4)
        after = await raft.hosts[follower].change(change(ADD, 4))
        assert after == Configuration(voters=frozenset({1, 2, 3, 4}))
        assert await raft.hosts[4].propose(b"y") == 2
        await raft.same_everywhere()
        for host in raft.hosts.values():
            assert host.status().addresses[4] == "node-4:7000"
            assert host.status().next_node == 5


async def test_several_nodes_change_at_once_through_a_joint_configuration() -> None:
    async with cluster(1, 2, 3) as raft:
        for node in (4, 5):
            await join(raft, node)
        swapped = ConfigurationChange((NodeChange(ADD, 4), NodeChange(ADD, 5)))
        after = await raft.hosts[1].change(swapped)
        assert after == Configuration(voters=frozenset({1, 2, 3, 4, 5}))


async def test_asking_again_for_what_is_so_succeeds() -> None:
    async with cluster(1, 2, 3) as raft:
        first = await raft.hosts[1].change(change(LEARN, 4, "node-4:7000"))
        assert await raft.hosts[2].change(change(LEARN, 4, "node-4:7000")) == first
        gone = await raft.hosts[3].change(change(REMOVE, 4))
        assert await raft.hosts[1].change(change(REMOVE, 4)) == gone


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        (change(LEARN, 4), "nobody says where node 4 is"),
        (change(LEARN, 4, "node-2:7000"), "address node-2:7000 of node 4 is node 2's"),
        (
            ConfigurationChange((NodeChange(LEARN, 4),), context=b"{"),
            "its context holds no addresses",
        ),
        (
            ConfigurationChange(tuple(NodeChange(REMOVE, node) for node in (1, 2, 3))),
            "removed all voters",
        ),
    ],
)
async def test_a_change_that_does_not_fit_is_refused_and_changes_nothing(
    asked: ConfigurationChange, match: str
) -> None:
    async with cluster(1, 2, 3) as raft:
        for host in raft.hosts.values():
            with pytest.raises(ChangeRefused, match=match):
                await host.change(asked)
            assert host.status().raft.configuration == Configuration(frozenset({1, 2, 3}))


async def test_the_last_voter_cannot_be_removed() -> None:
    async with cluster(1) as raft:
        with pytest.raises(ChangeRefused, match="removed all voters: they stay as they are"):
            await raft.hosts[1].change(change(REMOVE, 1))
        assert await raft.hosts[1].propose(b"x") == 1


async def test_an_id_is_given_once_even_after_its_node_left_and_all_restarted() -> None:
    async with cluster(1, 2) as raft:
        await raft.hosts[1].change(change(LEARN, 5, "node-5:7000"))
        await raft.hosts[1].change(change(REMOVE, 5))
        for node in (1, 2):
            await raft.hosts[node].snapshot()
            await raft.restart(node)
        with pytest.raises(ChangeRefused, match="id 5 is not above 5, the highest that a node"):
            await raft.hosts[1].change(change(LEARN, 5, "elsewhere-5:7000"))
        assert raft.hosts[2].status().next_node == 6


async def test_a_node_that_moved_is_found_at_its_new_address_by_all() -> None:
    async with cluster(1, 2, 3) as raft:
        moved = ConfigurationChange(
            (NodeChange(ChangeKind.UPDATE, 2),), context=encode_addresses({2: "new:7000"})
        )
        await raft.hosts[1].change(moved)
        await raft.same_everywhere()
        assert all(t.peers[2] == "new:7000" for t in raft.network.transports.values())


async def test_a_removed_node_is_cut_off_and_the_others_go_on() -> None:
    async with cluster(1, 2, 3) as raft:
        await raft.hosts[1].propose(b"x")
        leader = await raft.leader()
        await raft.hosts[leader].change(change(REMOVE, leader))
        new = await raft.leader(but=leader)
        await raft.hosts[new].propose(b"y")
        assert leader not in raft.network.transports[new].peers
        assert leader not in raft.hosts[new].status().addresses


async def test_a_change_whose_leader_is_cut_off_is_done_by_the_next() -> None:
    async with cluster(1, 2, 3) as raft:
        (follower, _) = await raft.followers()
        old = await raft.leader()
        raft.isolate(old)
        after = await raft.hosts[follower].change(change(LEARN, 4, "node-4:7000"))
        assert after.learners == {4}
        raft.network.heal()
        await raft.same_everywhere()


async def test_a_change_without_an_answer_is_neither_done_nor_undone() -> None:
    async with cluster(1, 2, 3) as raft:
        leader = await raft.leader()
        raft.isolate(leader)
        with pytest.raises(OutcomeUnknown):
            await raft.hosts[leader].change(change(LEARN, 4, "node-4:7000"), within=SOON / 6)


# --- leadership -----------------------------------------------------------------------------------


async def test_leadership_goes_where_it_is_asked_to_from_any_node() -> None:
    async with cluster(1, 2, 3) as raft:
        await raft.hosts[1].propose(b"x")
        for asker in (1, 2, 3):
            (target, _) = await raft.followers()
            await raft.hosts[asker].transfer(target)
            await raft.until(lambda target=target: raft.heard[target][-1][1] == target)  # type: ignore[misc]
        leader = await raft.leader()
        await raft.hosts[leader].transfer(leader)
        assert await raft.leader() == leader


async def test_leadership_is_not_handed_to_a_stranger_or_to_a_node_that_is_away() -> None:
    async with cluster(1, 2, 3) as raft:
        await raft.hosts[1].propose(b"x")
        (away, asker) = await raft.followers()
        with pytest.raises(TransferFailed, match="node 9, it is not another voter"):
            await raft.hosts[asker].transfer(9)
        raft.isolate(away)
        with pytest.raises((TransferFailed, OutcomeUnknown)):
            await raft.hosts[asker].transfer(away, within=SOON)
        assert await raft.hosts[asker].propose(b"y") == 2


# --- lost disks -----------------------------------------------------------------------------------


async def test_a_voter_that_lost_its_disk_stops_instead_of_voting_again() -> None:
    async with cluster(1, 2, 3) as raft:
        await raft.hosts[1].propose(b"x")
        (lost, _) = await raft.followers()
        await raft.stop(lost)
        del raft.disks[lost]  # as a node that joins, but under the id it had
        host = await raft.start(lost)
        await raft.until(lambda: host.status().error is not None)
        with pytest.raises(NodeFailed, match=r"a second time.* join again under a new id"):
            await host.propose(b"y")
        assert await raft.hosts[await raft.leader()].propose(b"z") == 2


async def test_a_node_without_a_past_gives_nobody_its_vote() -> None:
    async with cluster(1, 2, 3) as raft:
        await join(raft, 4)
        await raft.stop(4)
        del raft.disks[4]
        for node in (1, 2, 3):
            raft.isolate(node)
        await raft.start(4)
        arrivals = raft.network.transports[4].arrivals
        assert arrivals is not None
        before = len(raft.network.sent)
        for pre in (True, False):
            request = RequestVote(source=1, target=4, term=99, last_index=99, last_term=98, pre=pre)
            arrivals.message(request, None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not [one for one in raft.network.sent[before:] if one.source == 4]
        assert raft.hosts[4].status().raft.term == 0
