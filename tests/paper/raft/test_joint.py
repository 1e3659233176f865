"""Joint configurations: section 4.3 of Ongaro's thesis."""

from __future__ import annotations

import pytest

from moreton.consensus.core.configuration import ConfigurationChange, Transition
from moreton.consensus.core.events import Campaign, ProposeChange
from moreton.consensus.core.messages import AppendEntries, Configuration, EntryKind
from moreton.consensus.core.state import Role
from unit.consensus.raft_cluster import ELECTION, Cluster, changing, voters


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
    assert cluster.configuration(1).is_joint
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
    assert cluster.configuration(4) == voters(4, 5, 6)
    cluster.advance(4 * ELECTION)
    (leader,) = cluster.leaders()
    assert leader in {4, 5, 6}
    cluster.propose(leader, "a")
    assert cluster.data(5) == ["a"]


@pytest.mark.parametrize("transition", [Transition.AUTO, Transition.IMPLICIT])
def test_joint_configuration_is_left_on_its_own_accord(transition: Transition) -> None:
    """4.3: the leader proposes it as soon as the joint one is committed."""
    cluster = joint("v4 v5", transition)
    assert cluster.configuration(5) == voters(1, 2, 3, 4, 5)


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
    assert cluster.configuration(1).auto_leave
    cluster.advance(ELECTION / 2)
    assert cluster.configuration(2).is_joint
    cluster.crash(1)
    cluster.drop = lambda _: False
    cluster.advance(6 * ELECTION)
    assert len(cluster.leaders()) == 1
    assert cluster.configuration(cluster.leaders()[0]) == voters(1, 2, 3, 4, 5)


def test_no_other_change_fits_into_a_joint_one() -> None:
    """4.3: it must be left first."""
    cluster = joint(REPLACE)
    cluster.do(1, changing("v7"))
    assert cluster.refusals(1) == ["change-not-possible"]


def test_voter_becomes_a_learner_only_when_the_joint_configuration_is_left() -> None:
    """4.3, as etcd does it: until then its vote belongs to the old half."""
    cluster = joint("l3 v4")
    assert cluster.configuration(1).learners_next == {3}
    assert 3 in cluster.configuration(1).outgoing
    cluster.do(1, ProposeChange(ConfigurationChange()))
    cluster.advance(ELECTION / 2)
    assert cluster.configuration(3) == Configuration(
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
