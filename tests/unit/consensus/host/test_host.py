"""A host keeps its word: what is answered is done once, on every node, through every change."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from moreton.consensus.core.messages import (
    AppendEntries,
    EntryKind,
    ForwardProposal,
    Message,
    NodeId,
)
from moreton.consensus.host import (
    AnswerFailed,
    CommandTooLarge,
    HostClosed,
    HostSettings,
    NoLeader,
    OutcomeUnknown,
    Overloaded,
    RaftHost,
)
from unit.consensus.host.host_cluster import FAST, SOON, cluster
from unit.consensus.memory_ports import MemoryDisk, MemoryNetwork


@pytest.mark.parametrize("nodes", [(1,), (1, 2, 3)])
async def test_a_proposal_from_any_node_is_answered_by_what_it_did_there(
    nodes: tuple[NodeId, ...],
) -> None:
    async with cluster(*nodes) as raft:
        for number, host in enumerate(raft.hosts.values(), 1):
            assert await host.propose(b"x%d" % number) == number
        for node, host in raft.hosts.items():
            await host.read_barrier()
            assert raft.machines[node].commands == [f"x{n}" for n in range(1, len(nodes) + 1)]


async def test_many_proposals_at_once_share_few_writes() -> None:
    async with cluster(1, 2, 3) as raft:
        node = await raft.leader()
        await raft.hosts[node].propose(b"first")
        before = len(raft.disks[node].writes)
        await asyncio.gather(*(raft.hosts[node].propose(b"%d" % n) for n in range(500)))
        assert len(raft.disks[node].writes) - before < 20
        assert len(raft.machines[node].commands) == 501


async def test_a_proposal_that_its_leader_could_not_commit_is_done_once_by_the_next() -> None:
    async with cluster(1, 2, 3) as raft:
        old = await raft.leader()
        await raft.hosts[old].propose(b"before")
        raft.isolate(old)
        waiting = [asyncio.create_task(raft.hosts[old].propose(b"%d" % n)) for n in range(5)]
        new = await raft.leader(but=old)
        await raft.hosts[new].propose(b"between")
        raft.network.heal()
        await asyncio.gather(*waiting)
        done = await raft.same_everywhere()
        assert done[:2] == ["before", "between"]
        assert sorted(done[2:]) == ["0", "1", "2", "3", "4"]


async def test_a_proposal_that_is_lost_on_its_way_to_the_leader_is_sent_again() -> None:
    async with cluster(1, 2, 3) as raft:
        (follower, _) = await raft.followers()
        lost: list[Message] = []

        def drop(message: Message) -> bool:
            if isinstance(message, ForwardProposal) and len(lost) < 2:
                lost.append(message)
                return True
            return False

        raft.network.drop = drop
        assert await raft.hosts[follower].propose(b"x") == 1
        assert len(lost) == 2
        assert await raft.same_everywhere() == ["x"]


async def test_a_proposal_that_was_committed_unheard_and_sent_again_is_done_once() -> None:
    async with cluster(1, 2, 3) as raft:
        (follower, _) = await raft.followers()
        forwarded: list[Message] = []

        def drop(message: Message) -> bool:
            if isinstance(message, ForwardProposal):
                forwarded.append(message)
            # The follower hears that its leader lives, but nothing of the log.
            return isinstance(message, AppendEntries) and message.target == follower

        raft.network.drop = drop
        waiting = asyncio.create_task(raft.hosts[follower].propose(b"x"))
        await raft.until(lambda: len(forwarded) >= 3)
        assert not waiting.done()
        raft.network.drop = lambda _: False
        assert await waiting == 1
        assert await raft.same_everywhere() == ["x"]
        leader = await raft.leader()
        logged = [e.kind for e in raft.disks[leader].recovered.entries if b"x" in e.data]
        assert logged.count(EntryKind.DATA) >= 2


async def test_what_was_done_before_a_restart_is_not_done_again_after_it() -> None:
    async with cluster(1, 2, 3) as raft:
        (follower, other) = await raft.followers()
        held: list[Message] = []

        def hold(message: Message) -> bool:
            if isinstance(message, ForwardProposal) and not held:
                held.append(message)
            return isinstance(message, AppendEntries) and message.target == follower

        raft.network.drop = hold
        waiting = asyncio.create_task(raft.hosts[follower].propose(b"x"))
        leader = await raft.leader()
        await raft.until(lambda: raft.machines[leader].commands == ["x"])
        raft.network.drop = lambda _: False
        await waiting
        # A snapshot carries what was applied: a node that starts from it knows as well.
        for node in (leader, other):
            await raft.hosts[node].snapshot()
            await raft.restart(node)
        await raft.hosts[follower].propose(b"y")
        target = await raft.leader()
        arrivals = raft.network.transports[target].arrivals
        assert arrivals is not None
        assert isinstance(held[0], ForwardProposal)
        arrivals.message(held[0], None)
        assert await raft.same_everywhere() == ["x", "y"]


async def test_without_a_majority_nothing_is_done_and_that_is_certain() -> None:
    async with cluster(1, 2, 3) as raft:
        await raft.hosts[1].propose(b"x")
        await raft.stop(2)
        await raft.stop(3)
        host = raft.hosts[1]
        await raft.until(lambda: host.status().raft.leader is None)
        for ask in (
            host.propose(b"y", within=SOON),
            host.read_barrier(within=SOON),
            host.ask_leader(b"?", within=SOON),
            host.transfer(2, within=SOON),
            host.wait_leader(within=SOON),
        ):
            with pytest.raises(NoLeader, match=r"within 0.3s, .*none.*nothing was done"):
                await ask
        await raft.start(2)
        assert await host.propose(b"z") == 2
        assert raft.machines[1].commands == ["x", "z"]


async def test_a_leader_that_is_cut_off_says_that_the_outcome_is_unknown() -> None:
    async with cluster(1, 2, 3) as raft:
        leader = await raft.leader()
        await raft.hosts[leader].propose(b"x")
        raft.isolate(leader)
        with pytest.raises(OutcomeUnknown, match="may have been done or be done later, at most"):
            await raft.hosts[leader].propose(b"y", within=timedelta(milliseconds=30))


async def test_a_leader_that_is_cut_off_answers_no_read() -> None:
    async with cluster(1, 2, 3) as raft:
        old = await raft.leader()
        await raft.hosts[old].propose(b"x")
        raft.isolate(old)
        reading = asyncio.create_task(raft.hosts[old].read_barrier())
        new = await raft.leader(but=old)
        await raft.hosts[new].propose(b"y")
        assert not reading.done()
        raft.network.heal()
        await reading
        assert raft.machines[old].commands == ["x", "y"]


async def test_a_read_on_any_node_sees_what_was_acknowledged_on_another() -> None:
    async with cluster(1, 2, 3) as raft:
        await raft.leader()
        for number in range(30):
            writer, reader = number % 3 + 1, (number + 1) % 3 + 1
            await raft.hosts[writer].propose(b"%d" % number)
            await raft.hosts[reader].read_barrier()
            assert raft.machines[reader].commands[-1] == str(number)


async def test_more_than_may_wait_is_refused_at_once() -> None:
    async with cluster(1, 2, bounds=HostSettings(proposals_max=2, reads_max=1)) as raft:
        await raft.leader()
        raft.isolate(1)
        host = raft.hosts[1]
        waiting = [asyncio.create_task(host.propose(b"x", within=SOON)) for _ in range(2)]
        waiting.append(asyncio.create_task(host.read_barrier(within=SOON)))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="2 proposals wait on node 1 already"):
            await host.propose(b"y")
        with pytest.raises(Overloaded, match="1 reads wait"):
            await host.read_barrier()
        for ended in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(ended, NoLeader | OutcomeUnknown)
        raft.network.heal()
        await host.propose(b"z")


async def test_a_command_above_the_limit_is_refused_and_one_at_it_is_done() -> None:
    async with cluster(1, bounds=HostSettings(command_bytes_max=1000)) as raft:
        with pytest.raises(CommandTooLarge, match="1001 bytes is above the limit of 1000"):
            await raft.hosts[1].propose(b"x" * 1001)
        assert await raft.hosts[1].propose(b"x" * 1000) == 1


async def test_commands_that_do_not_fit_one_entry_are_spread_over_several() -> None:
    bounds = HostSettings(batch_bytes_max=1000, batches_max=2)
    async with cluster(1, 2, 3, bounds=bounds) as raft:
        host = raft.hosts[1]
        results = await asyncio.gather(*(host.propose(b"%d" % n * 400) for n in range(10)))
        assert sorted(str(one) for one in results) == sorted(map(str, range(1, 11)))


async def test_a_caller_who_gives_up_keeps_nobody_waiting() -> None:
    async with cluster(1, 2) as raft:
        await raft.leader()
        raft.isolate(1)
        waiting = asyncio.create_task(raft.hosts[1].propose(b"x"))
        await asyncio.sleep(0)
        waiting.cancel()
        await raft.until(lambda: raft.hosts[1].status().proposals_waiting == 0)
        raft.network.heal()
        await raft.hosts[1].propose(b"y")
        assert (await raft.same_everywhere()).count("x") <= 1


async def test_the_leader_answers_questions_of_every_node_and_says_what_failed() -> None:
    async with cluster(1, 2, 3) as raft:
        for node, host in raft.hosts.items():
            answer = await host.ask_leader(b"how are you")
            leader = await raft.leader()
            assert answer == b"%d to %d: how are you" % (leader, node)
            with pytest.raises(AnswerFailed, match="ValueError: no answer to that"):
                await host.ask_leader(b"fail")


async def test_what_waits_when_a_host_is_closed_is_told_and_nothing_comes_after() -> None:
    async with cluster(1, 2) as raft:
        (node,) = await raft.followers()
        raft.isolate(node)
        host = raft.hosts.pop(node)
        waiting = [
            asyncio.create_task(host.propose(b"x")),
            asyncio.create_task(host.read_barrier()),
            asyncio.create_task(host.ask_leader(b"?")),
            asyncio.create_task(host.wait_leader()),
        ]
        await asyncio.sleep(0)
        await asyncio.gather(host.close(), host.close())
        results = await asyncio.gather(*waiting[:2], return_exceptions=True)
        assert all(isinstance(one, HostClosed) for one in results)
        with pytest.raises(HostClosed):
            await waiting[2]
        await asyncio.gather(waiting[3], return_exceptions=True)
        with pytest.raises(HostClosed, match=f"node {node} is not running"):
            await host.propose(b"y")
        assert raft.disks[node].closed
        assert raft.heard[node][-1][1] is None


async def test_a_host_that_was_not_started_says_so() -> None:
    network = MemoryNetwork()
    host = RaftHost(
        1,
        disk=MemoryDisk(),
        transport=network.transport(1),
        machine=None,  # type: ignore[arg-type]  # nobody asks it
        addresses={},
    )
    with pytest.raises(HostClosed):
        await host.propose(b"x")
    with pytest.raises(HostClosed):
        host.status()
    await host.close()


@pytest.mark.parametrize(
    ("node", "addresses", "match"),
    [
        (0, {}, "node id 0 is below 1"),
        (1, {1: "nowhere"}, "'nowhere' of node 1 is not host:port"),
        (1, {1: "a:1", 2: "a:1"}, "nodes 1 and 2 have the same address a:1"),
    ],
)
def test_addresses_that_cannot_be_right_are_refused(
    node: NodeId, addresses: dict[NodeId, str], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        RaftHost(
            node,
            disk=MemoryDisk(),
            transport=MemoryNetwork().transport(1),
            machine=None,  # type: ignore[arg-type]  # nobody asks it
            addresses=addresses,
        )


async def test_everyone_hears_who_leads_since_which_term() -> None:
    async with cluster(1, 2, 3) as raft:
        for host in raft.hosts.values():
            await host.wait_leader()
        await raft.hosts[1].propose(b"x")
        leader = await raft.leader()
        await raft.until(lambda: all(raft.heard[n][-1][1] == leader for n in raft.hosts))
        terms = {raft.heard[node][-1][0] for node in raft.hosts}
        assert terms == {raft.hosts[leader].status().raft.term}


def test_settings_that_allow_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="batches_max is 0: nothing could be done"):
        HostSettings(batches_max=0)
    with pytest.raises(ValueError, match="is not above 0"):
        HostSettings(timeout=timedelta(0))
    assert FAST.kept_entries == 3
