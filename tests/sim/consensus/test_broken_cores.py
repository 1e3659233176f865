"""The simulation finds what it looks for: cores with one thing wrong each are caught."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from moreton.consensus.core.events import Campaign
from moreton.consensus.core.messages import AppendEntriesResponse, Message, RequestVoteResponse
from moreton.consensus.core.node import RaftNode
from moreton.consensus.core.state import Settings
from moreton.sim.consensus import ClusterFault, Plan, draw_plan, run_plan
from moreton.sim.consensus.cluster import Cluster, Core
from moreton.sim.consensus.plan import ELECTION_TIMEOUT, MILLISECOND
from moreton.sim.network import Faults
from moreton.sim.world import WorldFault
from sim.consensus.broken_cores import (
    AnswersBeforeItWrites,
    CommitsOldTerms,
    CountsItselfAtOnce,
    CutsItsLog,
    ForgetsItsVote,
    ReadsBeforeItsTermCommits,
    ReadsWithoutAQuorum,
    SkipsAnFsync,
    VotesForAnyLog,
)

SEEDS_MAX = 200


def caught(core: Core, plan: Callable[[int], Plan] = draw_plan) -> str:
    """What the first of so many seeds that catches *core* says."""
    for seed in range(1, SEEDS_MAX + 1):
        try:
            run_plan(plan(seed), core)
        except ClusterFault as fault:
            return str(fault)
    return f"not caught by {SEEDS_MAX} seeds"


def contested(seed: int) -> Plan:
    """Many short faults among five voters that campaign without asking first."""
    plan = draw_plan(seed)
    settings = replace(plan.settings, pre_vote=False, check_quorum=False, lease_reads=False)
    return replace(
        plan,
        voters=5,
        settings=settings,
        fault_every=plan.fault_every / 2,
        fault_max=plan.fault_max / 4,
    )


def deposed(seed: int) -> Plan:
    """Leaders that are cut off go on for long, and everybody looks at one register."""
    plan = draw_plan(seed)
    settings = replace(plan.settings, check_quorum=False, lease_reads=False)
    return replace(plan, keys=1, clients=4, settings=settings)


def slow(seed: int) -> Plan:
    """Disks take their time."""
    plan = draw_plan(seed)
    return replace(plan, write_max=4 * plan.write_max)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("core", "plan", "says"),
    [
        (ForgetsItsVote, contested, r"one vote a term|election safety"),
        (ReadsWithoutAQuorum, deposed, r"the history is not linearizable"),
        (ReadsBeforeItsTermCommits, deposed, r"the history is not linearizable"),
        (SkipsAnFsync, draw_plan, r"the log was lost or cut|leader completeness"),
        (AnswersBeforeItWrites, draw_plan, r"the log was lost or cut|leader completeness|vote"),
        (CountsItselfAtOnce, slow, r"leader completeness|state-machine safety"),
        (VotesForAnyLog, draw_plan, r"leader completeness"),
        (CutsItsLog, draw_plan, r"the log was lost or cut|leader completeness"),
    ],
)
def test_broken_core_is_caught(core: Core, plan: Callable[[int], Plan], says: str) -> None:
    found = caught(core, plan)
    assert re.match(rf"seed \d+: .*({says})", found), found


# --- what chance would need too many runs for, step by step --------------------------------------


class Stage:
    """Five nodes without clients or faults, but for those that the test makes."""

    def __init__(self, core: Core) -> None:
        settings = Settings(
            election_timeout=100 * ELECTION_TIMEOUT,  # nobody campaigns unless the test says so
            heartbeat_interval=ELECTION_TIMEOUT / 4,
            pre_vote=False,
            check_quorum=False,
            append_bytes_max=1,  # one entry a message
            inflight_messages_max=1,
        )
        calm = Faults(delay_min=MILLISECOND, delay_max=MILLISECOND)
        self.cluster = Cluster(Plan(seed=1, voters=5, settings=settings, network=calm), core)
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
