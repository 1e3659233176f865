"""Snapshots, lagging nodes and failing disks: nothing acknowledged is lost, nothing false said."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from moreton.consensus.core.configuration import ChangeKind
from moreton.consensus.core.messages import (
    AppendEntries,
    InstallSnapshot,
    Message,
    SnapshotMeta,
)
from moreton.consensus.disk.errors import DiskFailing, DiskFull
from moreton.consensus.host import HostSettings, NodeFailed, OutcomeUnknown, machine_part
from moreton.consensus.host.driver import APPLY_TIME_MAX
from moreton.consensus.host.errors import SnapshotRefused
from moreton.kernel.time import Instant, SystemClock
from unit.consensus.host.host_cluster import Register, change, cluster

pytestmark = pytest.mark.slow

FEW = HostSettings(snapshot_entries=10)
FULL = DiskFull(path=Path("log"), reason="no space left on device")


async def test_snapshots_are_taken_as_the_log_grows_and_the_log_shrinks() -> None:
    async with cluster(1, 2, 3, bounds=FEW) as raft:
        for number in range(40):
            await raft.hosts[1].propose(b"%d" % number)
        await raft.until(lambda: all(disk.compacted > 10 for disk in raft.disks.values()))
        for node in (1, 2, 3):
            assert len(raft.disks[node].recovered.entries) < 40
            await raft.restart(node)
            assert raft.machines[node].restored == 1
        assert await raft.same_everywhere() == [str(number) for number in range(40)]


async def test_snapshots_are_taken_by_size_too() -> None:
    async with cluster(1, bounds=HostSettings(snapshot_bytes=5000)) as raft:
        for _ in range(10):
            await raft.hosts[1].propose(b"x" * 1000)
        await raft.until(lambda: raft.hosts[1].status().snapshot_index > 1)


async def test_a_snapshot_taken_on_demand_holds_what_is_applied() -> None:
    async with cluster(1) as raft:
        await raft.hosts[1].propose(b"x")
        taken = await asyncio.gather(*(raft.hosts[1].snapshot() for _ in range(3)))
        assert len({one.index for one in taken}) == 1
        assert await raft.hosts[1].snapshot() == taken[0]
        found = raft.disks[1].read_snapshot()
        assert found is not None
        assert found[0] == taken[0]
        assert json.loads(machine_part(found[1]) or b"") == ["x"]


async def test_a_node_that_lags_behind_the_log_gets_the_snapshot_and_what_follows() -> None:
    async with cluster(1, 2, 3, bounds=FEW) as raft:
        await raft.hosts[1].propose(b"first")
        (away, _) = await raft.followers()
        leader = await raft.leader()
        raft.isolate(away)
        for number in range(60):
            await raft.hosts[leader].propose(b"%d" % number)
        await raft.until(lambda: raft.disks[leader].compacted > 30)
        raft.network.heal()
        done = await raft.same_everywhere()
        assert done == ["first", *map(str, range(60))]
        assert raft.machines[away].restored >= 1
        assert any(isinstance(one, InstallSnapshot) for one in raft.network.sent)
        await raft.restart(away)
        assert await raft.same_everywhere() == done


async def test_a_snapshot_that_is_lost_on_its_way_is_sent_again() -> None:
    async with cluster(1, 2, bounds=FEW) as raft:
        lost: list[Message] = []

        def drop(message: Message) -> bool:
            if isinstance(message, InstallSnapshot) and not lost:
                lost.append(message)
                return True
            return False

        raft.network.drop = drop
        await raft.hosts[1].change(change(ChangeKind.ADD_LEARNER, 3, "node-3:7000"))
        await raft.start(3)
        await raft.hosts[1].propose(b"x")
        await raft.until(lambda: raft.machines[3].commands == ["x"])
        assert lost


async def test_a_leader_whose_disk_is_full_stops_and_the_others_have_everything() -> None:
    async with cluster(1, 2, 3) as raft:
        answered = [str(n) for n in range(20)]
        for one in answered:
            await raft.hosts[1].propose(one.encode())
        leader = await raft.leader()
        raft.disks[leader].fail = FULL
        failed = raft.hosts.pop(leader)
        with contextlib.suppress(NodeFailed):  # the others may have it before this one's disk fails
            await failed.propose(b"refused")
        await raft.until(lambda: failed.status().error is not None)
        with pytest.raises(NodeFailed, match=r"is full, no space left.* start it again"):
            await failed.propose(b"refused")
        assert raft.heard[leader][-1][1] is None
        status = failed.status()
        assert status.error is not None
        assert "is full" in status.error
        new = await raft.leader(but=leader)
        await raft.hosts[new].propose(b"after")
        done = await raft.same_everywhere()
        assert [one for one in done if one != "refused"] == [*answered, "after"]
        await failed.close()
        raft.disks[leader].fail = None
        await raft.start(leader)
        assert await raft.same_everywhere() == done


async def test_a_follower_whose_disk_fails_acknowledges_nothing_more() -> None:
    async with cluster(1, 2, 3) as raft:
        await raft.hosts[1].propose(b"x")
        (follower, other) = await raft.followers()
        raft.disks[follower].fail = DiskFailing(path=Path("log"), reason="input/output error")
        leader = await raft.leader()
        assert await raft.hosts[leader].propose(b"y") == 2
        await raft.until(lambda: raft.hosts[follower].status().error is not None)
        raft.isolate(other)
        waiting = asyncio.create_task(raft.hosts[leader].propose(b"z"))
        # The one that failed does not count: without the other there is no majority.
        await raft.until(lambda: raft.hosts[leader].status().raft.leader is None)
        assert not waiting.done()
        raft.network.heal()
        assert await waiting == 3


async def test_a_snapshot_that_finds_no_room_is_reported_and_the_node_goes_on() -> None:
    async with cluster(1, bounds=FEW) as raft:
        disk = raft.disks[1]
        real = disk.write_snapshot

        def refuse(snapshot: SnapshotMeta, data: bytes) -> None:  # noqa: ARG001 - the port's names
            raise FULL

        disk.write_snapshot = refuse  # type: ignore[method-assign]
        for number in range(15):
            await raft.hosts[1].propose(b"%d" % number)
        await raft.until(lambda: raft.hosts[1].status().error is not None)
        with pytest.raises(DiskFull):
            await raft.hosts[1].snapshot()
        disk.write_snapshot = real  # type: ignore[method-assign]
        for number in range(15):
            await raft.hosts[1].propose(b"%d" % number)
        await raft.until(lambda: raft.hosts[1].status().error is None)
        assert raft.hosts[1].status().snapshot_index > 1


async def test_a_machine_that_raises_stops_its_node_and_says_why() -> None:
    async with cluster(1) as raft:
        machine = raft.machines[1]

        def fail(index: int, command: bytes) -> object:
            message = f"cannot do {command!r} at {index > 0}"
            raise RuntimeError(message)

        machine.apply = fail  # type: ignore[method-assign]
        with pytest.raises(NodeFailed, match="cannot do b'x' at True"):
            await raft.hosts[1].propose(b"x")


async def test_a_snapshot_that_the_machine_refuses_keeps_the_node_from_starting() -> None:
    async with cluster(1) as raft:
        await raft.hosts[1].propose(b"x")
        await raft.hosts[1].snapshot()
        await raft.stop(1)
        snapshot = raft.disks[1].snapshot
        assert snapshot is not None
        raft.disks[1].snapshot = (snapshot[0], snapshot[1] + b"]")
        with pytest.raises(NodeFailed, match="cannot be restored") as refusal:
            await raft.start(1)
        assert isinstance(refusal.value.__cause__, SnapshotRefused)
        assert raft.disks[1].closed
        assert Register().commands == []
        raft.hosts.clear()


async def test_a_proposal_that_came_back_in_a_snapshot_is_known_to_be_in_doubt() -> None:
    async with cluster(1, 2, 3, bounds=FEW) as raft:
        await raft.hosts[1].propose(b"first")
        (away, _) = await raft.followers()
        leader = await raft.leader()
        # The follower's proposal reaches the leader, but it hears of no entry any more.
        raft.network.drop = lambda m: isinstance(m, AppendEntries) and m.target == away
        waiting = asyncio.create_task(raft.hosts[away].propose(b"unheard"))
        await raft.until(lambda: "unheard" in raft.machines[leader].commands)
        for number in range(60):
            await raft.hosts[leader].propose(b"%d" % number)
        await raft.until(lambda: raft.disks[leader].compacted > 30)
        raft.network.drop = lambda _: False
        with pytest.raises(OutcomeUnknown):
            await waiting
        assert (await raft.same_everywhere()).count("unheard") == 1


async def test_what_cannot_be_meant_is_refused_before_it_does_harm() -> None:
    async with cluster(1) as raft:
        with pytest.raises(TypeError, match="a command is str, not bytes"):
            await raft.hosts[1].propose("x")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="a question is int, not bytes"):
            await raft.hosts[1].ask_leader(7)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="'leave' is not a ConfigurationChange"):
            await raft.hosts[1].change("leave")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="within 0:00:00 nothing can be done"):
            await raft.hosts[1].propose(b"x", within=timedelta(0))
        assert await raft.hosts[1].propose(b"x") == 1


class SlowClock(SystemClock):
    """The machine's clock, and the time that commands are said to take."""

    def __init__(self) -> None:
        self.spent = timedelta(0)

    def now(self) -> Instant:
        return super().now() + self.spent


async def test_a_slow_machine_lets_messages_through_between_two_entries() -> None:
    clock = SlowClock()
    async with cluster(1, bounds=HostSettings(batch_commands_max=1), clock=clock) as raft:
        await raft.hosts[1].propose(b"first")
        machine, turns = raft.machines[1], [0]
        real, applied_in = machine.apply, []

        def apply(index: int, command: bytes) -> object:
            applied_in.append(turns[0])
            clock.spent += APPLY_TIME_MAX
            return real(index, command)

        async def count_turns() -> None:
            while True:
                turns[0] += 1
                await asyncio.sleep(0)

        machine.apply = apply  # type: ignore[method-assign]
        counting = asyncio.create_task(count_turns())
        await asyncio.gather(*(raft.hosts[1].propose(b"%d" % number) for number in range(20)))
        counting.cancel()
        # A turn that was asked for and one of the timer may share a round of the loop.
        assert len(applied_in) == 20
        assert max(Counter(applied_in).values()) <= 2


async def test_a_leader_that_changes_as_a_question_is_given_up_stops_nobody() -> None:
    async with cluster(1) as raft:
        running = raft.hosts[1]._running
        assert running is not None
        entered = asyncio.Event()

        async def wait() -> None:
            async with asyncio.timeout(60) as other:
                running.waiting_for_leader.add(other)
                entered.set()
                await asyncio.Event().wait()

        waiting = asyncio.create_task(wait())
        await entered.wait()
        running._tell_leader(5, None)
        with pytest.raises(TimeoutError):
            await waiting
        running._tell_leader(6, 1)  # its limit has expired
        assert await raft.hosts[1].propose(b"x") is not None
        running.waiting_for_leader.clear()
