"""Changes of members: chapter 4 of Ongaro's thesis; learners and joint configurations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from moreton.consensus.core.configuration import (
    ChangeKind,
    ConfigurationChange,
    NodeChange,
    Transition,
)
from moreton.consensus.core.events import Campaign, ConfigurationChanged, ProposeChange, Receive
from moreton.consensus.core.messages import (
    AppendEntries,
    Configuration,
    EntryKind,
    RequestVote,
)
from moreton.consensus.core.state import Role, Settings
from unit.consensus.raft_cluster import ELECTION, Cluster, voters

PLAIN = Settings(election_timeout=ELECTION, pre_vote=False, check_quorum=False)


def changing(words: str, transition: Transition = Transition.AUTO) -> ProposeChange:
    """Words such as `v4 l5 r1`."""
    changes = tuple(NodeChange(ChangeKind(word[0]), int(word[1:])) for word in words.split())
    return ProposeChange(ConfigurationChange(changes, transition))


def configuration(cluster: Cluster, node: int) -> Configuration:
    return cluster.nodes[node].status().configuration


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
    assert all(configuration(cluster, node) == voters(1, 2, 3, 4) for node in (1, 2, 3, 4))
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
    assert configuration(cluster, 1) == voters(1, 2)
    cluster.heal()
    cluster.advance(ELECTION / 2)
    assert configuration(cluster, 1) == voters(1)


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
    assert configuration(cluster, 1) == voters(1, 2, 3, 4)


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
    assert configuration(cluster, 6) == voters(1, 2, 3, 4, 5, 6)


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
    assert configuration(cluster, 4).learners == {4}
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
    assert configuration(cluster, 4) == voters(1, 2, 3, 4)
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
    assert configuration(cluster, 2) == voters(2, 3)
    cluster.advance(4 * ELECTION)
    assert cluster.leaders()[0] in {2, 3}
    assert cluster.nodes[1].deadline() is None


def test_those_who_are_left_learn_of_the_removal_from_the_leader_that_goes() -> None:
    """4.2.2: the last thing that it sends is that its removal is committed."""
    cluster = Cluster()
    cluster.elect(1)
    cluster.do(1, changing("r1"))
    assert [configuration(cluster, node) for node in (1, 2, 3)] == [voters(2, 3)] * 3


def test_removed_node_disturbs_nobody() -> None:
    """4.2.3: who hears a leader ignores requests for votes, whatever their term."""
    cluster = Cluster(settings=replace(PLAIN, check_quorum=True))
    cluster.elect(1)
    cluster.isolate(3)
    cluster.do(1, changing("r3"))
    assert configuration(cluster, 1) == voters(1, 2)
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
    assert configuration(cluster, 1) == voters(1, 2, 3)
    cluster.restart(1)
    assert cluster.of(1, ConfigurationChanged)[-1].configuration == voters(1, 2, 3)


def test_configuration_survives_a_restart() -> None:
    """4.1: it is read from the log, or from the snapshot."""
    cluster = grown()
    cluster.restart(2)
    assert configuration(cluster, 2) == voters(1, 2, 3, 4)
    cluster.snapshot(2)
    cluster.restart(2)
    assert configuration(cluster, 2) == voters(1, 2, 3, 4)


# --- joint configurations (section 4.3) -----------------------------------------------------------


def joint(words: str, transition: Transition = Transition.EXPLICIT) -> Cluster:
    """Nodes 1 to 3, led by 1, amid a change to *words*; 4 to 6 are there, blank."""
    cluster = Cluster()
    cluster.elect(1)
    for node in (4, 5, 6):
        cluster.start(node)
    cluster.do(1, changing(words, transition))
    cluster.advance(ELECTION)
    return cluster


REPLACE = "v4 v5 v6 r1 r2 r3"
# Who is silent while 1 or 4 leads, and whether the rest is a majority of both halves.
BOTH_HALVES = [((5, 6), False), ((2, 3), False), ((3, 6), True)]


@pytest.mark.parametrize(("silent", "committed"), BOTH_HALVES)
def test_commitment_takes_both_majorities(*, silent: tuple[int, ...], committed: bool) -> None:
    """4.3: agreement requires separate majorities of the old and the new configuration."""
    cluster = joint(REPLACE)
    assert configuration(cluster, 1).is_joint
    cluster.isolate(*silent)
    cluster.propose(1, "a")
    assert cluster.data(1) == ["a"] * committed


@pytest.mark.parametrize(("silent", "elected"), BOTH_HALVES)
def test_election_takes_both_majorities(*, silent: tuple[int, ...], elected: bool) -> None:
    """4.3: so does the election of a leader."""
    cluster = joint(REPLACE)
    cluster.isolate(*silent)
    cluster.crash(1)
    cluster.start(1)
    cluster.now += 3 * ELECTION
    cluster.do(4, Campaign())
    cluster.do(4, Campaign())
    assert (cluster.role(4) is Role.LEADER) is elected


def test_anyone_of_both_halves_may_lead() -> None:
    """4.3: any server from either configuration may serve as leader."""
    for node in (2, 5):
        cluster = joint(REPLACE)
        cluster.crash(1)
        cluster.now += 3 * ELECTION
        cluster.do(node, Campaign())
        assert cluster.role(node) is Role.LEADER


def test_joint_configuration_is_left_when_that_is_asked_for() -> None:
    """4.3: another entry, of the new configuration alone, ends it."""
    cluster = joint(REPLACE)
    cluster.do(1, ProposeChange(ConfigurationChange()))
    assert configuration(cluster, 4) == voters(4, 5, 6)
    cluster.advance(4 * ELECTION)
    (leader,) = cluster.leaders()
    assert leader in {4, 5, 6}
    cluster.propose(leader, "a")
    assert cluster.data(5) == ["a"]


@pytest.mark.parametrize("transition", [Transition.AUTO, Transition.IMPLICIT])
def test_joint_configuration_is_left_on_its_own_accord(transition: Transition) -> None:
    """4.3: the leader proposes it as soon as the joint one is committed."""
    cluster = joint("v4 v5", transition)
    assert configuration(cluster, 5) == voters(1, 2, 3, 4, 5)


def test_next_leader_leaves_the_joint_configuration_in_the_place_of_a_dead_one() -> None:
    """4.3: whoever leads finishes what was begun."""
    cluster = Cluster()
    cluster.elect(1)
    for node in (4, 5):
        cluster.start(node)
    # Nobody hears of the end of the joint configuration before its leader dies.
    cluster.drop = lambda m: (
        isinstance(m, AppendEntries)
        and any(e.kind is EntryKind.CONFIGURATION and e.index > 3 for e in m.entries)
    )
    cluster.do(1, changing("v4 v5"))
    assert configuration(cluster, 1).auto_leave
    cluster.advance(ELECTION / 2)
    assert configuration(cluster, 2).is_joint
    cluster.crash(1)
    cluster.drop = lambda _: False
    cluster.advance(6 * ELECTION)
    assert len(cluster.leaders()) == 1
    assert configuration(cluster, cluster.leaders()[0]) == voters(1, 2, 3, 4, 5)


def test_no_other_change_fits_into_a_joint_one() -> None:
    """4.3: it must be left first."""
    cluster = joint(REPLACE)
    cluster.do(1, changing("v7"))
    assert cluster.refusals(1) == ["change-not-possible"]


def test_voter_becomes_a_learner_only_when_the_joint_configuration_is_left() -> None:
    """4.3, as etcd does it: until then its vote belongs to the old half."""
    cluster = joint("l3 v4")
    assert configuration(cluster, 1).learners_next == {3}
    assert 3 in configuration(cluster, 1).outgoing
    cluster.do(1, ProposeChange(ConfigurationChange()))
    cluster.advance(ELECTION / 2)
    assert configuration(cluster, 3) == Configuration(
        voters=frozenset({1, 2, 4}), learners=frozenset({3})
    )
    assert cluster.nodes[3].deadline() is None


def test_leader_that_becomes_a_learner_steps_down() -> None:
    """4.2.2: it may lead no longer than it may vote."""
    cluster = Cluster()
    cluster.elect(1)
    cluster.do(1, changing("l1"))
    assert cluster.role(1) is Role.FOLLOWER
    cluster.advance(4 * ELECTION)
    assert cluster.leaders()[0] in {2, 3}
    assert cluster.state(1).leader in {2, 3}
