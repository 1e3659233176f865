"""A leader that cannot be reached and is silent is replaced before the election timeout.

Beyond the paper, which leaves open when an election begins (section 3.4): pre-vote makes an early
one harmless.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from moreton.consensus.core.events import Unreachable
from moreton.consensus.core.state import Role, Settings
from unit.consensus.raft_cluster import ELECTION, Cluster

HEARTBEAT = timedelta(milliseconds=100)
SETTINGS = Settings(election_timeout=ELECTION, heartbeat_interval=HEARTBEAT)


def led(settings: Settings = SETTINGS) -> Cluster:
    cluster = Cluster(settings=settings)
    cluster.advance(10 * ELECTION)
    return cluster


def kill_leader(cluster: Cluster) -> None:
    (leader,) = cluster.leaders()
    cluster.crash(leader)
    for node in list(cluster.nodes):
        cluster.do(node, Unreachable(leader))


def test_leader_whose_process_died_is_replaced_within_a_few_heartbeats() -> None:
    """Ours: a process that dies takes its connections with it."""
    cluster = led()
    kill_leader(cluster)
    cluster.advance(5 * HEARTBEAT)
    assert cluster.leaders() != []


def test_without_a_word_of_its_death_the_whole_timeout_is_waited_for() -> None:
    """3.4: followers begin an election when the timeout has passed."""
    cluster = led()
    cluster.crash(cluster.leaders()[0])
    cluster.advance(5 * HEARTBEAT)
    assert cluster.leaders() == []


def test_leader_whose_connections_broke_and_that_is_heard_again_goes_on() -> None:
    """Ours: only silence counts."""
    cluster = led()
    (leader,) = cluster.leaders()
    term = cluster.state(leader).term
    for _ in range(20):
        for node in {1, 2, 3} - {leader}:
            cluster.do(node, Unreachable(leader))
        cluster.advance(HEARTBEAT)
    assert (cluster.leaders(), cluster.state(leader).term) == ([leader], term)


def test_follower_that_alone_lost_its_leader_is_not_helped_to_replace_it() -> None:
    """9.6: others who hear the leader refuse their pre-vote."""
    cluster = led()
    (leader,) = cluster.leaders()
    term = cluster.state(leader).term
    alone = max({1, 2, 3} - {leader})
    cluster.cuts = {(leader, alone)}
    for _ in range(20):
        cluster.do(alone, Unreachable(leader))
        cluster.advance(HEARTBEAT)
    assert cluster.role(alone) is Role.PRE_CANDIDATE
    assert (cluster.leaders(), cluster.state(leader).term) == ([leader], term)
    cluster.heal()
    cluster.advance(2 * ELECTION)
    assert cluster.state(alone).leader == leader


@pytest.mark.parametrize(
    "settings", [replace(SETTINGS, pre_vote=False), replace(SETTINGS, lease_reads=True)]
)
def test_early_elections_need_pre_vote_and_no_lease(settings: Settings) -> None:
    """Ours: without pre-vote nobody is asked first; a lease lasts the whole timeout."""
    cluster = led(settings)
    kill_leader(cluster)
    cluster.advance(ELECTION - 2 * HEARTBEAT)
    assert {cluster.role(node) for node in cluster.nodes} == {Role.FOLLOWER}
    cluster.advance(10 * ELECTION)
    assert cluster.leaders() != []


def test_that_another_follower_is_unreachable_means_nothing() -> None:
    """Ours: only a leader is waited for."""
    cluster = led()
    cluster.crash(cluster.leaders()[0])
    one, other = cluster.nodes
    cluster.do(one, Unreachable(other))
    cluster.do(other, Unreachable(one))
    cluster.advance(5 * HEARTBEAT)
    assert cluster.leaders() == []
