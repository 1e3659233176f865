"""Failures step by step, for which chance would need too many runs: by a broken core, and not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from moreton.consensus.core.events import Campaign
from moreton.consensus.core.messages import AppendEntriesResponse, Message, RequestVoteResponse
from moreton.consensus.core.node import RaftNode
from moreton.consensus.core.state import Settings
from moreton.sim.consensus import Plan
from moreton.sim.consensus.cluster import Cluster, Core
from moreton.sim.consensus.node.events import Answered
from moreton.sim.consensus.node.registers import Request
from moreton.sim.consensus.plan import ELECTION_TIMEOUT, MILLISECOND
from moreton.sim.linearizability import Recorder, Register, check_history
from moreton.sim.network import Faults
from moreton.sim.world import WorldFault
from sim.consensus.broken_cores import (
    CommitsOldTerms,
    CountsItselfAtOnce,
    KeepsNoLease,
    ReadsBeforeItsTermCommits,
    ReadsWithoutAQuorum,
)

# Nobody campaigns before, unless the test says so.
PATIENCE = 100 * ELECTION_TIMEOUT


class Stage:
    """Five nodes without clients or faults, but for those that the test makes."""

    def __init__(self, core: Core, *, lease_reads: bool = False) -> None:
        settings = Settings(
            election_timeout=PATIENCE,
            heartbeat_interval=ELECTION_TIMEOUT / 4,
            pre_vote=False,
            check_quorum=lease_reads,
            lease_reads=lease_reads,
            append_bytes_max=1,  # one entry a message
            inflight_messages_max=1,
        )
        calm = Faults(delay_min=MILLISECOND, delay_max=MILLISECOND)
        self.cluster = Cluster(
            Plan(seed=1, voters=5, settings=settings, network=calm, overtaking=True), core
        )
        self.network = self.cluster.world.network
        for node in self.cluster.nodes:
            self.cluster.crash(node)

    def start(self, *nodes: int) -> None:
        for node in nodes:
            self.cluster.restart(node)

    def run_until(self, holds: Callable[[], bool]) -> None:
        for _ in range(1000):
            if holds():
                return
            self.cluster.world.run(timedelta(microseconds=100))
        pytest.fail("it never came to that")

    def elect(
        self, node: int, voters: list[int], *, then_reaches: list[int], but_last: int = 0
    ) -> None:
        """Elect *node* by *voters*; its messages as leader reach only some.

        *but_last* is one of them that is not reached any more once it has the entry at 2.
        """

        def cut(message: Message) -> None:
            if isinstance(message, AppendEntriesResponse) and message.source == but_last:
                if message.index == 2 and not message.rejected:
                    self.network.cut([node], [but_last])
            elif isinstance(message, RequestVoteResponse) and message.granted:
                others = [each for each in range(1, 6) if each not in then_reaches]
                self.network.cut([node], others)

        self.cluster.trap = cut
        for _ in range(5):  # terms: another candidate may have been ahead
            self.network.heal()
            self.network.cut([node], [each for each in range(1, 6) if each not in voters])
            self.cluster.tell(node, Campaign())
            self.cluster.world.run(50 * MILLISECOND)
            if self.cluster.leader() == node:
                self.cluster.trap = None
                return
        pytest.fail(f"{node} was not elected")

    def answers_go_to(self, recorder: Recorder) -> Callable[[], int]:
        """Let *recorder* have the answers of nodes; how many there were."""
        clients = self.cluster.clients
        count = 0

        def answer(answered: Answered) -> None:
            nonlocal count
            count += 1
            if answered.refused:
                recorder.fail(answered.client, self.cluster.world.now)
            else:
                recorder.ok(answered.client, answered.value, self.cluster.world.now)

        clients.answer = answer  # type: ignore[method-assign]
        return lambda: count

    def log(self, node: int) -> list[tuple[int, int]]:
        """Index and term of each entry of *node*."""
        host = self.cluster.host(node)
        assert host is not None
        log = host.core.state.log
        return [(entry.index, entry.term) for entry in log.entries(log.first_index)]


def figure_3_7(core: Core) -> Stage:
    """Source: Ongaro 2014, figure 3.7; the entry of index 2 is the one that is overwritten."""
    stage = Stage(core)
    stage.start(1, 2, 3, 4, 5)
    # (a) 1 leads and gets an entry to 2 alone; (b) it crashes, 5 leads and has another there.
    stage.elect(1, [2, 3, 4, 5], then_reaches=[2])
    stage.run_until(lambda: len(stage.log(2)) == 1)
    ((index, old_term),) = stage.log(2)
    assert index == 2
    stage.cluster.crash(1)
    stage.elect(5, [3, 4], then_reaches=[])
    assert stage.log(5)[0][1] > old_term
    stage.cluster.crash(5)
    # (c) 1 leads again and gets the old entry to 3, which is a majority, but not its new one.
    stage.start(1)
    stage.elect(1, [2, 3, 4], then_reaches=[2, 3], but_last=3)
    stage.run_until(lambda: stage.log(3) == [(2, old_term)])
    stage.cluster.world.run(50 * MILLISECOND)
    # (d) It crashes; 5 is elected by 3 and 4, and overwrites what a majority had.
    stage.cluster.crash(1)
    stage.start(5)
    stage.elect(5, [3, 4], then_reaches=[2, 3, 4])
    stage.run_until(lambda: stage.log(3)[0][1] > old_term)
    return stage


def test_old_term_that_is_committed_by_counting_is_caught() -> None:
    with pytest.raises(WorldFault, match=r"leader completeness: node 5.* lacks entry 2"):
        figure_3_7(CommitsOldTerms)


def test_old_term_on_a_majority_may_be_overwritten() -> None:
    stage = figure_3_7(RaftNode)
    assert stage.cluster.safety.committed >= 2


def voted_then_lost_its_disk() -> Stage:
    """2 votes for 1, which leads; then its disk is gone, and with it the vote."""
    stage = Stage(RaftNode)
    stage.start(1, 2, 3, 4, 5)
    stage.elect(1, [2, 3], then_reaches=[])
    stage.cluster.lose_disk(2)
    return stage


def test_node_that_lost_its_disk_does_not_come_back_under_its_number() -> None:
    stage = voted_then_lost_its_disk()
    stage.start(2)
    assert stage.cluster.host(2) is None
    assert 2 not in stage.cluster.nodes


def test_vote_after_a_lost_disk_is_caught() -> None:
    stage = voted_then_lost_its_disk()
    stage.cluster.world.restart(2)  # a host that does not look
    with pytest.raises(WorldFault, match=r"one vote a term: node 2 votes for 5 in term 2 after"):
        stage.elect(5, [2, 4], then_reaches=[])


def replaced(core: Core, *, lease_reads: bool) -> tuple[Stage, Recorder]:
    """1 leads and is cut off; 2 campaigns at once; a write at 2, then a read at 1."""
    stage = Stage(core, lease_reads=lease_reads)
    stage.start(1, 2, 3, 4, 5)
    # Before they started they may have vouched for a leader: nobody votes for so long.
    stage.cluster.world.run(PATIENCE + MILLISECOND)
    stage.elect(1, [2, 3, 4, 5], then_reaches=[2, 3, 4, 5])
    recorder = Recorder()
    answered = stage.answers_go_to(recorder)
    stage.cluster.ask(1, recorded(recorder, stage, Request(1, 1, "write", 0, 1)))
    stage.run_until(lambda: answered() == 1)
    stage.network.partition([1], [2, 3, 4, 5])
    stage.cluster.tell(2, Campaign())
    stage.cluster.world.run(100 * MILLISECOND)
    stage.cluster.ask(2, recorded(recorder, stage, Request(2, 1, "write", 0, 2)))
    stage.cluster.world.run(100 * MILLISECOND)
    stage.cluster.ask(1, recorded(recorder, stage, Request(3, 1, "read", 0)))
    stage.cluster.world.run(100 * MILLISECOND)
    return stage, recorder


def recorded(recorder: Recorder, stage: Stage, request: Request) -> Request:
    value = request.value if request.operation == "write" else None
    now = stage.cluster.world.now
    recorder.invoke(request.client, request.operation, request.key, value, now)
    return request


def test_leader_that_is_replaced_in_its_lease_gives_a_stale_answer_away() -> None:
    _, recorder = replaced(KeepsNoLease, lease_reads=True)
    assert reads_that_fit_nowhere(recorder) == 1


def test_leader_is_not_replaced_in_its_lease() -> None:
    stage, recorder = replaced(RaftNode, lease_reads=True)
    assert stage.cluster.leader() == 1
    assert recorder.is_waiting(2)
    assert not recorder.is_waiting(3)  # by its lease 1 answers alone
    assert reads_that_fit_nowhere(recorder) == 0


def test_leader_that_answers_without_a_quorum_gives_a_stale_answer_away() -> None:
    _, recorder = replaced(ReadsWithoutAQuorum, lease_reads=False)
    assert reads_that_fit_nowhere(recorder) == 1


def test_leader_that_was_replaced_does_not_answer() -> None:
    stage, recorder = replaced(RaftNode, lease_reads=False)
    assert stage.cluster.leader() == 2
    assert recorder.is_waiting(3)
    assert not recorder.is_waiting(2)


def read_at_once(core: Core) -> Recorder:
    """1 commits a write and tells nobody that it is; 2 is elected and read from at once."""
    stage = Stage(core)
    stage.start(1, 2, 3, 4, 5)
    stage.elect(1, [2, 3, 4, 5], then_reaches=[2, 3, 4, 5])
    recorder = Recorder()
    answered = stage.answers_go_to(recorder)

    def cut(message: Message) -> None:
        if isinstance(message, AppendEntriesResponse) and message.index == 3:
            stage.network.cut([1], [2, 3, 4, 5])

    stage.cluster.trap = cut
    stage.cluster.ask(1, recorded(recorder, stage, Request(1, 1, "write", 0, 1)))
    stage.run_until(lambda: answered() == 1)
    stage.cluster.crash(1)
    stage.cluster.trap = None
    stage.cluster.tell(2, Campaign())
    stage.run_until(lambda: stage.cluster.leader() == 2)
    stage.cluster.ask(2, recorded(recorder, stage, Request(2, 1, "read", 0)))
    stage.run_until(lambda: answered() == 2)
    return recorder


def test_leader_that_reads_before_its_term_commits_is_caught() -> None:
    assert reads_that_fit_nowhere(read_at_once(ReadsBeforeItsTermCommits)) == 1


def test_leader_reads_once_its_term_has_a_committed_entry() -> None:
    assert reads_that_fit_nowhere(read_at_once(RaftNode)) == 0


def two_disks_of_five(core: Core) -> Stage:
    """1, whose disk hangs, gets a write to 2 and 3 and crashes; 4 is elected by 1 and 5."""
    stage = Stage(core)
    stage.start(1, 2, 3, 4, 5)
    stage.elect(1, [2, 3, 4, 5], then_reaches=[2, 3, 4, 5])
    stage.network.cut([1], [4, 5])
    host = stage.cluster.host(1)
    assert host is not None
    host._writing._longest = 1000 * PATIENCE
    stage.cluster.ask(1, Request(1, 1, "write", 0, 1))
    stage.cluster.world.run(100 * MILLISECOND)
    assert [len(stage.log(node)) for node in (1, 2, 3, 4, 5)] == [2, 2, 2, 1, 1]
    stage.cluster.world.nodes[1].disk._cached.clear()  # the crash takes all of it
    stage.cluster.crash(1)
    stage.start(1)
    stage.elect(4, [1, 5], then_reaches=[])
    return stage


def test_leader_that_counts_itself_before_its_disk_is_caught() -> None:
    with pytest.raises(WorldFault, match=r"leader completeness: node 4.* lacks entry 3"):
        two_disks_of_five(CountsItselfAtOnce)


def test_leader_does_not_count_itself_before_its_disk() -> None:
    assert two_disks_of_five(RaftNode).cluster.safety.committed == 2


def reads_that_fit_nowhere(recorder: Recorder) -> int:
    verdict = check_history(recorder.calls(), Register())
    assert all(violation.unplaced.op == "read" for violation in verdict.violations)
    return len(verdict.violations)
