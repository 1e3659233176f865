"""Changes of members: chapter 4 of Ongaro's thesis; learners."""

from __future__ import annotations

from dataclasses import replace

import pytest

from moreton.consensus.core.configuration import (
    ChangeKind,
    NodeChange,
)
from moreton.consensus.core.events import Campaign, ConfigurationChanged, Receive
from moreton.consensus.core.messages import (
    AppendEntries,
    EntryKind,
    RequestVote,
)
from moreton.consensus.core.state import Role, Settings
from unit.consensus.raft_cluster import ELECTION, Cluster, changing, voters

PLAIN = Settings(election_timeout=ELECTION, pre_vote=False, check_quorum=False)


def grown(*, learner: bool = False) -> Cluster:
    """Three nodes led by the first, which a fourth has just joined."""
    cluster = Cluster()
    cluster.elect(1)
    cluster.start(4)
    cluster.do(1, changing("l4" if learner else "v4"))
    cluster.advance(ELECTION)
    return cluster


def test_node_is_added_and_gets_everything() -> None:
    """4.1: one server is added at a time; it counts from then on."""
    cluster = Cluster()
    cluster.elect(1)
    cluster.propose(1, "a")
    cluster.start(4)
    cluster.do(1, changing("v4"))
    cluster.advance(ELECTION)
    assert all(cluster.configuration(node) == voters(1, 2, 3, 4) for node in (1, 2, 3, 4))
    cluster.isolate(2)
    cluster.propose(1, "b")
    assert cluster.data(1) == ["a", "b"]  # three of four
    cluster.isolate(3)
    cluster.propose(1, "c")
    assert cluster.data(1) == ["a", "b"]  # two of four are no majority


def test_node_is_removed_and_counts_no_more() -> None:
    """4.1: after the removal a majority of those who are left decides."""
    cluster = Cluster()
    cluster.elect(1)
    cluster.do(1, changing("r3"))
    cluster.crash(3)
    cluster.propose(1, "a")
    cluster.crash(2)
    cluster.propose(1, "b")
    assert cluster.data(1) == ["a"]


def test_change_is_committed_by_those_who_were_there_before() -> None:
    """4.1: ours is in force from its commit on, so the old majority commits it."""
    cluster = Cluster((1, 2))
    cluster.elect(1)
    cluster.isolate(2)
    cluster.do(1, changing("r2"))
    assert cluster.configuration(1) == voters(1, 2)
    cluster.heal()
    cluster.advance(ELECTION / 2)
    assert cluster.configuration(1) == voters(1)


def test_second_change_waits_until_the_first_is_committed() -> None:
    """4.1: a leader takes no change while another is uncommitted."""
    cluster = Cluster()
    cluster.elect(1)
    cluster.isolate(2, 3)
    cluster.do(1, changing("v4"), changing("v5"))
    assert cluster.refusals(1) == ["change-pending"]
    cluster.heal()
    cluster.advance(ELECTION / 2)
    cluster.do(1, changing("v5"))
    assert cluster.refusals(1) == ["change-pending"]
    assert cluster.state(1).log.last_index == 4


def test_new_leader_takes_no_change_until_it_has_committed_in_its_term() -> None:
    """4.1 and Ongaro's correction of 2015: there may be a change among what it found."""
    cluster = Cluster(settings=PLAIN)
    cluster.elect(1)
    cluster.drop = lambda m: isinstance(m, AppendEntries) and m.target == 3
    cluster.isolate(1, 2)
    cluster.do(1, changing("v4"))
    cluster.heal()
    cluster.drop = lambda m: isinstance(m, AppendEntries)
    cluster.restart(1)
    cluster.elect(1)
    cluster.do(1, changing("v5"))
    assert cluster.refusals(1) == ["change-pending"]
    cluster.drop = lambda _: False
    cluster.advance(ELECTION)
    assert cluster.configuration(1) == voters(1, 2, 3, 4)


def test_whoever_has_a_change_knows_the_one_before_to_be_committed() -> None:
    """4.1: so majorities of any two configurations that nodes believe in meet."""
    cluster = Cluster()
    cluster.elect(1)
    for node in (4, 5, 6):
        cluster.start(node)
        cluster.do(1, changing(f"v{node}"))
        for message in cluster.sent(1, AppendEntries):
            kinds = [e.index for e in message.entries if e.kind is EntryKind.CONFIGURATION]
            assert len(kinds) < 2 or message.commit >= kinds[-2]
        cluster.advance(ELECTION)
    assert cluster.configuration(6) == voters(1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("r1 r2 r3", "removed all voters"),
        ("", "can't leave a non-joint config"),
    ],
)
def test_impossible_change_is_refused_with_its_reason(words: str, why: str) -> None:
    """4: a cluster without voters could decide nothing ever again."""
    cluster = Cluster()
    cluster.elect(1)
    effects = cluster.tell(1, changing(words))
    assert cluster.refusals(1) == ["change-not-possible"]
    assert [getattr(e, "detail", None) for e in effects] == [why]


def test_impossible_change_that_was_passed_on_leaves_no_trace() -> None:
    """4: the leader decides, whoever was asked."""
    cluster = Cluster()
    cluster.elect(1)
    before = cluster.log(1)
    cluster.do(2, changing("r1 r2 r3"))
    assert cluster.log(1) == before
    cluster.do(2, changing("l4"))
    assert cluster.configuration(2).learners == {4}


def test_change_of_what_is_no_node_is_refused() -> None:
    """Ours: node ids are numbers from 1 on; 0 means that nothing changes, as in etcd."""
    with pytest.raises(ValueError, match="-1 names no node"):
        NodeChange(ChangeKind.ADD_VOTER, -1)
    cluster = Cluster()
    cluster.elect(1)
    cluster.do(1, changing("v0"))
    assert cluster.configuration(2) == voters(1, 2, 3)


def test_last_voter_cannot_be_removed() -> None:
    """4: nobody would be left to commit it."""
    cluster = Cluster((1,))
    cluster.elect(1)
    cluster.do(1, changing("r1"))
    assert cluster.refusals(1) == ["change-not-possible"]


def test_node_heeds_a_leader_it_knows_nothing_of() -> None:
    """4.1: servers take messages from who is not in their configuration."""
    cluster = grown()
    assert cluster.state(4).leader == 1
    assert cluster.state(4).log.last_index == cluster.state(1).log.last_index


def test_node_votes_for_a_candidate_it_knows_nothing_of() -> None:
    """4.1: its vote may be needed before it learns of its own membership."""
    cluster = Cluster(settings=PLAIN)
    cluster.start(4)
    cluster.elect(1)
    assert cluster.nodes[4].deadline() is None
    cluster.tell(4, Receive(RequestVote(source=2, target=4, term=9, last_index=9, last_term=9)))
    assert cluster.state(4).vote == 2


def test_learner_catches_up_without_counting() -> None:
    """4.2.1: a new server is a non-voting member until it has caught up."""
    cluster = grown(learner=True)
    assert cluster.configuration(4).learners == {4}
    cluster.isolate(2)
    cluster.propose(1, "a")
    assert cluster.data(4) == ["a"]
    cluster.isolate(3)
    cluster.propose(1, "b")
    assert cluster.data(1) == ["a"]  # nodes 1 and 4 have it, one of three voters


def test_learner_becomes_a_voter() -> None:
    """4.2.1: once it has caught up, it is added in earnest."""
    cluster = grown(learner=True)
    cluster.do(1, changing("v4"))
    cluster.advance(ELECTION / 2)
    assert cluster.configuration(4) == voters(1, 2, 3, 4)
    assert cluster.nodes[4].deadline() is not None
    assert cluster.state(1).progress[4].match == cluster.state(1).log.last_index


def test_promoted_learner_that_hears_nothing_campaigns() -> None:
    """4.2.1: it is a voter like any other."""
    cluster = grown(learner=True)
    cluster.do(1, changing("v4"))
    cluster.advance(ELECTION / 2)
    cluster.crash(1)
    cluster.isolate(2)
    cluster.advance(ELECTION)
    cluster.do(4, Campaign())
    assert cluster.role(4) is not Role.LEADER  # two of four
    cluster.heal()
    cluster.advance(8 * ELECTION)
    assert len(cluster.leaders()) == 1


def test_removed_leader_steps_down_once_that_is_committed() -> None:
    """4.2.2: it leads until then, not counting itself, and no longer."""
    cluster = Cluster()
    cluster.elect(1)
    cluster.isolate(2, 3)
    cluster.do(1, changing("r1"))
    assert cluster.role(1) is Role.LEADER
    cluster.heal()
    cluster.advance(ELECTION / 2)
    assert cluster.role(1) is Role.FOLLOWER
    assert cluster.configuration(2) == voters(2, 3)
    cluster.advance(4 * ELECTION)
    assert cluster.leaders()[0] in {2, 3}
    assert cluster.nodes[1].deadline() is None


def test_those_who_are_left_learn_of_the_removal_from_the_leader_that_goes() -> None:
    """4.2.2: the last thing that it sends is that its removal is committed."""
    cluster = Cluster()
    cluster.elect(1)
    cluster.do(1, changing("r1"))
    assert [cluster.configuration(node) for node in (1, 2, 3)] == [voters(2, 3)] * 3


def test_removed_node_disturbs_nobody() -> None:
    """4.2.3: who hears a leader ignores requests for votes, whatever their term."""
    cluster = Cluster(settings=replace(PLAIN, check_quorum=True))
    cluster.elect(1)
    cluster.isolate(3)
    cluster.do(1, changing("r3"))
    assert cluster.configuration(1) == voters(1, 2)
    cluster.advance(10 * ELECTION)
    assert cluster.state(3).term > 5  # it has not heard of its removal
    for message in cluster.sent(3, RequestVote):
        assert message.term > 2
    cluster.cuts = {(1, 3), (2, 3)}  # it can speak, and hears nothing
    cluster.advance(5 * ELECTION)
    assert (cluster.leaders(), cluster.state(1).term) == ([1], 2)


def test_change_that_was_never_committed_is_undone_with_its_entry() -> None:
    """4.1: a server whose log loses the entry goes back to the configuration before it."""
    cluster = Cluster(settings=PLAIN)
    cluster.elect(1)
    cluster.isolate(1)
    cluster.do(1, changing("v4"))
    cluster.elect(2)
    cluster.propose(2, "a")
    cluster.heal()
    cluster.advance(ELECTION)
    assert cluster.configuration(1) == voters(1, 2, 3)
    cluster.restart(1)
    assert cluster.of(1, ConfigurationChanged)[-1].configuration == voters(1, 2, 3)


def test_configuration_survives_a_restart() -> None:
    """4.1: it is read from the log, or from the snapshot."""
    cluster = grown()
    cluster.restart(2)
    assert cluster.configuration(2) == voters(1, 2, 3, 4)
    cluster.snapshot(2)
    cluster.restart(2)
    assert cluster.configuration(2) == voters(1, 2, 3, 4)
