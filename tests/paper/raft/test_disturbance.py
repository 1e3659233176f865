"""Pre-vote and check quorum: sections 4.2.3, 6.2 and 9.6 of Ongaro's thesis."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from moreton.consensus.core.events import Campaign, LeaderChanged, Persist, Receive
from moreton.consensus.core.messages import (
    AppendEntries,
    RequestVote,
    RequestVoteResponse,
)
from moreton.consensus.core.node import RaftNode
from moreton.consensus.core.state import Recovered, Role, Settings
from moreton.kernel.rng import seeded_rng
from unit.consensus.raft_cluster import ELECTION, START, Cluster, logged

PLAIN = Settings(election_timeout=ELECTION, pre_vote=False, check_quorum=False)


def ask(source: int, target: int, term: int, **more: Any) -> Receive:
    fields: dict[str, Any] = {"last_index": 9, "last_term": 9, **more}
    return Receive(RequestVote(source=source, target=target, term=term, **fields))


def votes(cluster: Cluster, node: int) -> list[bool]:
    return [one.granted for one in cluster.sent(node, RequestVoteResponse)]


# --- pre-vote (section 9.6) -----------------------------------------------------------------------


def test_node_that_is_cut_off_keeps_its_term_and_disturbs_nobody() -> None:
    """9.6: it raises its term only once it could win."""
    cluster = Cluster()
    cluster.elect(1)
    cluster.isolate(3)
    cluster.advance(20 * ELECTION)
    assert cluster.role(3) is Role.PRE_CANDIDATE
    assert cluster.state(3).term == 2
    cluster.heal()
    cluster.advance(3 * ELECTION)
    assert (cluster.leaders(), cluster.state(3).leader, cluster.state(1).term) == ([1], 1, 2)


def test_node_that_is_cut_off_without_pre_vote_raises_its_term() -> None:
    """9.6: which is what pre-vote is for."""
    cluster = Cluster(settings=replace(PLAIN, check_quorum=True))
    cluster.elect(1)
    cluster.isolate(3)
    cluster.advance(20 * ELECTION)
    assert cluster.state(3).term > 8
    cluster.heal()
    cluster.advance(6 * ELECTION)
    # It cannot be ignored for ever: the leader learns the term, and all agree again.
    assert len({cluster.state(node).leader for node in (1, 2, 3)} - {None}) == 1
    assert cluster.state(1).term > 8


def test_pre_vote_changes_neither_term_nor_vote_of_who_gives_it() -> None:
    """9.6: it is no vote."""
    cluster = Cluster()
    cluster.tell(3, ask(1, 3, 2, pre=True), ask(2, 3, 2, pre=True))
    assert votes(cluster, 3) == [True, True]
    assert (cluster.state(3).term, cluster.state(3).vote) == (1, None)
    assert not cluster.of(3, Persist)


def test_pre_vote_is_refused_to_a_log_that_is_behind() -> None:
    """9.6: the log must be sufficiently up to date."""
    cluster = Cluster(recovered={3: logged(1, 2)})
    cluster.tell(3, ask(1, 3, 3, pre=True, last_index=2, last_term=2))
    assert votes(cluster, 3) == [False]


@pytest.mark.parametrize("pre_vote", [False, True])
def test_votes_and_pre_votes_are_counted_apart(*, pre_vote: bool) -> None:
    """9.6: to be told that one would win is not to have won."""
    cluster = Cluster(settings=replace(PLAIN, pre_vote=pre_vote))
    cluster.tell(1, Campaign())
    asking = cluster.role(1)
    # What would count if it were of the other kind: a pre-vote is of the next term.
    term = cluster.state(1).term + (not pre_vote)
    answer = RequestVoteResponse(source=2, target=1, term=term, granted=True, pre=not pre_vote)
    cluster.tell(1, Receive(answer))
    assert cluster.role(1) is asking


def test_pre_vote_of_an_earlier_campaign_does_not_count() -> None:
    """9.6: only answers to what was asked."""
    cluster = Cluster(recovered={1: logged(term=5)})
    cluster.tell(1, Campaign())
    late = RequestVoteResponse(source=2, target=1, term=9, granted=True, pre=True)
    cluster.tell(1, Receive(late))
    assert cluster.role(1) is Role.PRE_CANDIDATE


# --- check quorum (sections 4.2.3 and 6.2) --------------------------------------------------------


def test_leader_without_a_quorum_steps_down() -> None:
    """6.2: if an election timeout passes without a successful round to a majority."""
    cluster = Cluster()
    cluster.elect(1)
    cluster.isolate(1)
    cluster.advance(2 * ELECTION)
    assert cluster.role(1) is not Role.LEADER
    assert cluster.of(1, LeaderChanged)[-1] == LeaderChanged(2, None)


def test_leader_that_nobody_ever_answered_steps_down_after_one_timeout() -> None:
    """6.2: the votes that elected it are no answer to its heartbeats."""
    cluster = Cluster()
    cluster.drop = lambda message: isinstance(message, AppendEntries)
    cluster.elect(1)
    cluster.isolate(1)
    cluster.advance(ELECTION)
    assert cluster.role(1) is not Role.LEADER


def test_leader_stays_without_check_quorum() -> None:
    """6.2: then it learns of its successor only from the successor."""
    cluster = Cluster(settings=PLAIN)
    cluster.elect(1)
    cluster.isolate(1)
    cluster.advance(5 * ELECTION)
    assert cluster.role(1) is Role.LEADER


def test_leader_with_a_bare_quorum_stays() -> None:
    """6.2: a majority is enough."""
    cluster = Cluster((1, 2, 3, 4, 5))
    cluster.elect(1)
    cluster.isolate(4, 5)
    cluster.advance(10 * ELECTION)
    assert cluster.role(1) is Role.LEADER


def test_learners_do_not_count_for_the_quorum() -> None:
    """6.2 and 4.2.1: a majority of voters."""
    cluster = Cluster((1, 2, 3), learners=(4, 5))
    cluster.elect(1)
    cluster.isolate(2, 3)
    cluster.advance(2 * ELECTION)
    assert cluster.role(1) is not Role.LEADER


def test_node_that_hears_a_leader_ignores_candidates() -> None:
    """4.2.3: within the minimum election timeout of a heartbeat."""
    cluster = Cluster()
    cluster.elect(1)
    cluster.tell(2, ask(3, 2, 9))
    assert cluster.state(2).term == 2
    assert votes(cluster, 2)[-1:] == [True]  # the one from the election before
    cluster.isolate(1)
    cluster.now += ELECTION + timedelta(milliseconds=1)
    cluster.tell(2, ask(3, 2, 9))
    assert cluster.state(2).term == 9


def test_restarted_node_waits_before_it_votes_when_leases_are_in_use() -> None:
    """6.4.1: it may have vouched for a leader."""
    cluster = Cluster(settings=Settings(election_timeout=ELECTION, lease_reads=True))
    cluster.advance(3 * ELECTION)
    (leader,) = cluster.leaders()
    voter = 1 + leader % 3
    cluster.restart(voter)
    term = cluster.state(voter).term
    cluster.tell(voter, ask(6 - leader - voter, voter, term + 7))
    assert cluster.state(voter).term == term


def test_blank_node_waits_to_be_invited() -> None:
    """4.2.1: a server that joins is no voter until it is told so."""
    node = RaftNode(9, Recovered(), rng=seeded_rng(0))
    node.wake(START)
    assert node.deadline() is None
