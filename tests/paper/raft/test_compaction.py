"""Snapshots and compaction: chapter 5 of Ongaro's thesis."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from moreton.consensus.core.configuration import ChangeKind, ConfigurationChange, NodeChange
from moreton.consensus.core.events import (
    Applied,
    Apply,
    Campaign,
    Compact,
    Persist,
    ProposeChange,
    Receive,
    Restore,
    Send,
    SnapshotReported,
    SnapshotTaken,
    Unreachable,
)
from moreton.consensus.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Configuration,
    HardState,
    InstallSnapshot,
    SnapshotMeta,
)
from moreton.consensus.core.progress import ProgressState
from moreton.consensus.core.state import Recovered, Settings
from unit.consensus.raft_cluster import ELECTION, Cluster, logged, voters

TIGHT = Settings(election_timeout=ELECTION, kept_entries=0)
PLAIN = replace(TIGHT, pre_vote=False, check_quorum=False)


def behind(settings: Settings = TIGHT) -> Cluster:
    """Node 3 lacks what node 1, which leads, has compacted away."""
    cluster = Cluster(settings=settings)
    cluster.elect(1)
    cluster.isolate(3)
    cluster.propose(1, "a", "b", "c")
    cluster.snapshot(1)
    cluster.propose(1, "d")
    return cluster


def install(index: int, term: int, *, at: int = 9, nodes: Configuration | None = None) -> Receive:
    """What node 1 sends node 3, in term *at*."""
    meta = SnapshotMeta(index, term, nodes or voters(1, 2, 3))
    return Receive(InstallSnapshot(source=1, target=3, term=at, snapshot=meta))


def restored(cluster: Cluster, node: int) -> list[int]:
    """The snapshots that the state machine of *node* was given, but for the founding one."""
    indices = [one.snapshot.index for one in cluster.of(node, Restore)]
    return [index for index in indices if index > 1]


def to_node_3(cluster: Cluster) -> int:
    """How often node 1 has sent it entries or a snapshot."""
    sent = [*cluster.sent(1, AppendEntries), *cluster.sent(1, InstallSnapshot)]
    return sum(message.target == 3 for message in sent)


def answers(cluster: Cluster) -> list[AppendEntriesResponse]:
    return cluster.sent(3, AppendEntriesResponse)


def test_snapshot_says_where_it_ends_and_who_belonged_there() -> None:
    """5.1: last included index and term, and the latest configuration as of it."""
    cluster = Cluster()
    cluster.elect(1)
    cluster.propose(1, "a")
    change = ConfigurationChange((NodeChange(ChangeKind.ADD_LEARNER, 4),))
    cluster.do(1, ProposeChange(change))
    node = cluster.nodes[1]
    assert node.describe_snapshot(3) == SnapshotMeta(3, 2, voters(1, 2, 3))
    assert node.describe_snapshot(4).configuration.learners == {4}


@pytest.mark.parametrize("index", [0, 4, 99])
def test_snapshot_of_what_is_not_there_cannot_be_described(index: int) -> None:
    """5.1: only what is committed, and still in the log, can be replaced."""
    cluster = Cluster()
    cluster.elect(1)
    cluster.isolate(1)
    cluster.propose(1, "uncommitted", "too")
    with pytest.raises(ValueError, match=f"no snapshot can be described at {index}"):
        cluster.nodes[1].describe_snapshot(index)


def test_snapshot_before_the_known_configurations_cannot_be_described() -> None:
    """5.1: after a restart a node knows those from its snapshot on, even if entries lie before."""
    kept = replace(logged(2, 2, 2), snapshot=SnapshotMeta(4, 2, voters(1, 2, 3)))
    cluster = Cluster(recovered={1: kept})
    assert cluster.nodes[1].describe_snapshot(4).index == 4
    with pytest.raises(ValueError, match="no snapshot can be described at 3"):
        cluster.nodes[1].describe_snapshot(3)


def test_log_is_dropped_up_to_the_snapshot() -> None:
    """5.1: once it is written, the log up to it may be discarded."""
    cluster = Cluster(settings=TIGHT)
    cluster.elect(1)
    cluster.propose(1, "a", "b")
    cluster.snapshot(1)
    assert cluster.log(1) == []
    assert cluster.of(1, Compact) == [Compact(4)]
    cluster.propose(1, "c")
    assert cluster.log(1) == [(5, 2)]
    assert cluster.data(2) == ["a", "b", "c"]


def test_some_entries_before_the_snapshot_are_kept_for_who_is_slow() -> None:
    """5.3: most followers that lag a little need no snapshot."""
    cluster = behind(replace(TIGHT, kept_entries=2))
    assert cluster.log(1)[0] == (4, 2)
    cluster = behind(replace(TIGHT, kept_entries=5))
    cluster.heal()
    cluster.advance(ELECTION)
    assert not cluster.sent(1, InstallSnapshot)
    assert cluster.data(3) == ["a", "b", "c", "d"]


def test_old_snapshot_changes_nothing() -> None:
    """5.1: a node keeps its newest."""
    cluster = behind()
    held = cluster.state(1).log.snapshot
    assert cluster.tell(1, SnapshotTaken(SnapshotMeta(2, 2, voters(1, 2, 3)))) == []
    assert cluster.state(1).log.snapshot == held


def test_follower_that_is_far_behind_gets_the_snapshot_and_what_follows() -> None:
    """5.3: the leader sends its snapshot when it no longer has the entries."""
    cluster = behind()
    cluster.heal()
    cluster.advance(ELECTION)
    assert [m.snapshot.index for m in cluster.sent(1, InstallSnapshot)] == [5]
    assert restored(cluster, 3) == [5]
    assert cluster.data(3) == ["d"]
    assert cluster.log(3) == [(6, 2)]
    cluster.propose(1, "e")
    assert cluster.data(3) == ["d", "e"]


def test_new_member_with_nothing_gets_the_snapshot() -> None:
    """5.3: so does a server that has just joined."""
    cluster = behind()
    cluster.heal()
    cluster.start(4)
    change = ConfigurationChange((NodeChange(ChangeKind.ADD_VOTER, 4),))
    cluster.do(1, ProposeChange(change))
    cluster.advance(ELECTION)
    assert restored(cluster, 4) == [5]
    assert cluster.nodes[4].status().configuration == voters(1, 2, 3, 4)
    assert cluster.data(4) == ["d"]


def test_received_snapshot_is_durable_before_it_is_acknowledged() -> None:
    """5.3 and 3.8: the disk has it when the leader hears of it."""
    cluster = Cluster(recovered={3: logged(term=2)})
    effects = cluster.tell(3, install(5, 2, at=2))
    kinds = [type(effect) for effect in effects]
    assert kinds.index(Persist) < kinds.index(Send) < kinds.index(Restore)
    persist = effects[kinds.index(Persist)]
    assert isinstance(persist, Persist)
    assert persist.sync
    assert persist.snapshot == SnapshotMeta(5, 2, voters(1, 2, 3))
    assert answers(cluster)[-1].index == 5


def test_snapshot_replaces_a_log_that_differs() -> None:
    """5.3: the follower discards its entire log, which may have uncommitted entries."""
    cluster = Cluster(recovered={3: logged(2, 2, 3, 3, 3, 3)})
    cluster.tell(3, install(5, 4))
    assert (cluster.log(3), cluster.state(3).log.last_index) == ([], 5)
    recovered = cluster.disks[3].recovered
    assert (recovered.snapshot.index, recovered.entries) == (5, ())


def test_snapshot_of_a_part_of_the_log_keeps_what_follows() -> None:
    """5.3: entries after the snapshot are still valid and must be retained."""
    cluster = Cluster(recovered={3: logged(2, 2, 3, 3, 3, 3)})
    cluster.tell(3, install(5, 3))
    assert cluster.log(3)[-1] == (7, 3)
    assert (cluster.state(3).log.committed, restored(cluster, 3)) == (5, [])
    assert answers(cluster)[-1].index == 5


@pytest.mark.parametrize("compacted", [False, True])
def test_snapshot_of_what_is_committed_already_is_only_acknowledged(*, compacted: bool) -> None:
    """5.3: a retransmission, or a slow one; it must not take the node back."""
    start = replace(logged(2, 2, 2), hard_state=HardState(2, None, 4))
    if compacted:
        start = replace(start, snapshot=SnapshotMeta(4, 2, voters(1, 2, 3)), entries=())
    cluster = Cluster(recovered={3: start})
    before = restored(cluster, 3)
    cluster.tell(3, install(3, 2))
    assert restored(cluster, 3) == before
    assert (cluster.state(3).log.committed, answers(cluster)[-1].index) == (4, 4)


def test_node_restarts_from_its_snapshot_and_the_log_after_it() -> None:
    """5.1: the snapshot holds what the log no longer does."""
    cluster = behind()
    cluster.restart(1)
    assert restored(cluster, 1) == [5]
    assert cluster.state(1).log.applied == 6
    assert cluster.data(1) == ["d"]


def test_durable_state_machine_is_not_given_again_what_it_has() -> None:
    """5.2: a state machine on disk is its own snapshot."""
    start = replace(logged(2, 2, 2), hard_state=HardState(2, None, 4), applied=3)
    cluster = Cluster(recovered={3: start})
    assert restored(cluster, 3) == []
    assert [e.index for one in cluster.of(3, Apply) for e in one.entries] == [4]


def test_entries_wait_while_a_snapshot_is_on_its_way() -> None:
    """5.3: they could not be appended before it has arrived."""
    cluster = behind()
    cluster.heal()
    cluster.drop = lambda m: isinstance(m, InstallSnapshot)
    cluster.advance(ELECTION / 2)
    assert cluster.state(1).progress[3].state is ProgressState.SNAPSHOT
    before = len([m for m in cluster.sent(1, AppendEntries) if m.target == 3])
    cluster.propose(1, "e")
    cluster.advance(ELECTION / 2)
    assert len([m for m in cluster.sent(1, AppendEntries) if m.target == 3]) == before
    assert len(cluster.sent(1, InstallSnapshot)) == 1


@pytest.mark.parametrize("told", [True, False])
def test_snapshot_that_was_lost_is_sent_again(*, told: bool) -> None:
    """5.3: as AppendEntries is; when its loss is reported, or when nothing is for too long."""
    settings = replace(TIGHT, snapshot_timeout=timedelta(seconds=30))
    cluster = behind(settings)
    cluster.heal()
    cluster.drop = lambda m: isinstance(m, InstallSnapshot)
    cluster.advance(ELECTION / 2)
    assert len(cluster.sent(1, InstallSnapshot)) == 1
    cluster.drop = lambda _: False
    if told:
        cluster.do(1, SnapshotReported(3, arrived=False))
    else:
        cluster.advance(timedelta(seconds=20))
        assert len(cluster.sent(1, InstallSnapshot)) == 1
        cluster.advance(timedelta(seconds=12))
    cluster.advance(ELECTION / 2)
    assert len(cluster.sent(1, InstallSnapshot)) == 2
    assert cluster.data(3) == ["d"]


def test_entries_after_a_snapshot_go_on_when_it_is_reported_to_have_arrived() -> None:
    """5.3: even if the follower's own answer is lost."""
    cluster = behind()
    cluster.heal()
    cluster.drop = lambda m: isinstance(m, AppendEntriesResponse) and m.index == 5
    cluster.advance(ELECTION / 2)
    assert cluster.state(1).progress[3].state is ProgressState.SNAPSHOT
    cluster.drop = lambda _: False
    cluster.do(1, SnapshotReported(3, arrived=True))
    cluster.advance(ELECTION / 2)
    assert cluster.data(3) == ["d"]
    assert len(cluster.sent(1, InstallSnapshot)) == 1


def test_follower_whose_snapshot_is_too_old_already_gets_a_newer_one() -> None:
    """5.3: its own answer ends the wait, without a report, even if the log went on meanwhile."""
    cluster = behind()
    cluster.heal()
    cluster.drop = lambda m: isinstance(m, AppendEntriesResponse) and not m.rejected
    cluster.advance(ELECTION / 2)
    assert cluster.state(1).progress[3].pending_snapshot == 5
    late = answers(cluster)[-1]
    cluster.drop = lambda m: m.source == 3
    cluster.propose(1, "e", "f")
    cluster.snapshot(1)
    cluster.drop = lambda _: False
    cluster.do(1, Receive(late))
    assert [m.snapshot.index for m in cluster.sent(1, InstallSnapshot)] == [5, 8]
    assert cluster.state(3).log.committed == 8


def test_no_snapshot_goes_to_who_does_not_answer() -> None:
    """5.3: it would be read and sent in vain."""
    cluster = behind()
    cluster.advance(2 * ELECTION)
    cluster.do(1, Unreachable(3))
    cluster.propose(1, "e")
    assert not cluster.sent(1, InstallSnapshot)


def test_report_that_comes_late_changes_nothing() -> None:
    """5.3: the follower itself has answered, and gets entries again."""
    cluster = behind()
    cluster.heal()
    cluster.advance(ELECTION / 2)
    cluster.do(1, SnapshotReported(3, arrived=False))
    assert cluster.state(1).progress[3].state is ProgressState.REPLICATE


def test_lost_message_does_not_end_the_wait_for_a_snapshot() -> None:
    """5.3: its data travel on their own, and have a report of their own."""
    cluster = behind()
    cluster.heal()
    cluster.drop = lambda m: isinstance(m, InstallSnapshot)
    cluster.advance(ELECTION / 2)
    cluster.do(1, Unreachable(3))
    assert cluster.state(1).progress[3].state is ProgressState.SNAPSHOT


def test_old_answer_does_not_end_the_wait_for_a_snapshot() -> None:
    """5.3: it is about entries that are gone."""
    cluster = behind()
    cluster.heal()
    cluster.drop = lambda m: isinstance(m, InstallSnapshot)
    cluster.advance(ELECTION / 2)
    old = AppendEntriesResponse(source=3, target=1, term=2, index=3)
    cluster.do(1, Receive(old))
    assert cluster.state(1).progress[3].state is ProgressState.SNAPSHOT
    assert len(cluster.sent(1, InstallSnapshot)) == 1


@pytest.mark.parametrize(("arrived", "following"), [(True, 6), (False, 3)])
def test_report_of_a_snapshot_is_followed_by_a_heartbeat_first(
    *, arrived: bool, following: int
) -> None:
    """5.3: the follower may be busy with it, or gone: nothing is sent until it answers."""
    cluster = behind()
    cluster.heal()
    cluster.drop = lambda m: m.source == 3 and getattr(m, "index", 0) == 5
    cluster.advance(ELECTION / 2)
    before = to_node_3(cluster)
    cluster.tell(1, SnapshotReported(3, arrived))
    assert cluster.state(1).progress[3].next == following
    cluster.propose(1, "e")
    assert to_node_3(cluster) == before
    cluster.drop = lambda _: False
    cluster.advance(ELECTION / 2)
    assert cluster.data(3)[-1] == "e"


def test_follower_takes_the_configuration_of_the_snapshot() -> None:
    """5.1 and 4.1: the configuration is part of it."""
    cluster = Cluster(recovered={3: logged(term=2)}, settings=PLAIN)
    joint = Configuration(frozenset({1, 2, 3, 4}), frozenset({1, 2, 3}), auto_leave=True)
    cluster.tell(3, install(5, 2, nodes=joint))
    assert cluster.nodes[3].status().configuration == joint
    cluster.restart(3)
    assert cluster.nodes[3].status().configuration == joint


def test_leader_compacts_while_a_follower_still_reads_its_log() -> None:
    """5.1: each server compacts on its own, whoever leads."""
    cluster = Cluster(settings=TIGHT)
    cluster.elect(1)
    for step in range(5):
        cluster.propose(1, f"x{step}")
        cluster.snapshot(1 + step % 3)
    assert [cluster.data(node)[-1] for node in (1, 2, 3)] == ["x4"] * 3
    cluster.crash(1)
    cluster.advance(5 * ELECTION)
    (leader,) = cluster.leaders()
    cluster.propose(leader, "y")
    assert cluster.data(5 - leader)[-1] == "y"


def test_snapshot_that_arrives_amid_slow_application_comes_after_it() -> None:
    """5.3: what was handed out before is applied before; then the snapshot replaces it all."""
    cluster = Cluster(recovered={3: logged(2, 2, term=2)})
    append = AppendEntries(source=1, target=3, term=2, prev_index=3, prev_term=2, commit=3)
    effects = cluster.tell(3, Receive(append), install(9, 2, at=2))
    kinds = [type(e) for e in effects]
    assert Apply not in kinds  # the snapshot has it all
    assert kinds.count(Restore) == 1
    assert cluster.state(3).log.applied == 9


def test_leader_that_restarts_can_lead_from_a_snapshot_alone() -> None:
    """5.1: the term of its last entry stands in it."""
    only = Recovered(HardState(3, None, 8), SnapshotMeta(8, 3, voters(1, 2, 3)))
    cluster = Cluster(recovered=dict.fromkeys((1, 2, 3), only), settings=PLAIN)
    cluster.do(1, Campaign())
    assert cluster.log(2) == [(9, 4)]
    cluster.tell(1, Applied(9))
    assert cluster.state(2).log.committed == 9
