"""Leader election: sections 3.3, 3.4 and 3.6.1 of Ongaro's thesis."""

from __future__ import annotations

from typing import Any

import pytest

from moreton.consensus.core.events import Campaign, LeaderChanged, Persist, Receive, Send
from moreton.consensus.core.messages import (
    AppendEntries,
    HardState,
    Heartbeat,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
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


def test_node_starts_as_follower_and_campaigns_after_a_timeout() -> None:
    """3.4: servers start as followers; without a heartbeat one begins an election."""
    cluster = Cluster()
    assert {cluster.role(node) for node in (1, 2, 3)} == {Role.FOLLOWER}
    cluster.advance(2 * ELECTION)
    assert len(cluster.leaders()) == 1


def test_election_timeouts_are_spread_between_one_and_two() -> None:
    """3.4: randomized election timeouts, so that split votes are rare."""
    delays = []
    for seed in range(200):
        node = RaftNode(1, logged(), rng=seeded_rng(seed))
        node.wake(START)
        due = node.deadline()
        assert due is not None
        delays.append((due - START) / ELECTION)
    assert 1 <= min(delays) < 1.1
    assert 1.9 < max(delays) < 2


def test_candidate_persists_its_term_and_vote_before_it_asks() -> None:
    """3.8: currentTerm and votedFor are on stable storage before any request."""
    cluster = Cluster(settings=PLAIN)
    effects = cluster.tell(1, Campaign())
    kinds = [type(effect) for effect in effects]
    assert kinds.index(Persist) < kinds.index(Send)
    assert cluster.disks[1].recovered.hard_state == HardState(term=2, vote=1, commit=1)


def test_candidate_with_a_majority_leads_and_tells_the_others() -> None:
    """3.4: with votes of a majority it becomes leader and sends heartbeats."""
    cluster = Cluster((1, 2, 3, 4, 5))
    cluster.isolate(4, 5)
    cluster.elect(1)
    assert LeaderChanged(2, 1) in cluster.effects[1]
    assert LeaderChanged(2, 1) in cluster.effects[3]


def test_candidate_without_a_majority_does_not_lead() -> None:
    """3.4: a majority of the full cluster, not of those who answer."""
    cluster = Cluster((1, 2, 3, 4, 5), settings=PLAIN)
    cluster.isolate(3, 4, 5)
    cluster.do(1, Campaign())
    assert cluster.role(1) is Role.CANDIDATE


def test_node_votes_once_in_a_term() -> None:
    """3.4: at most one candidate in a term, first come, first served."""
    cluster = Cluster(settings=PLAIN)
    cluster.tell(3, ask(1, 3, 2), ask(2, 3, 2), ask(1, 3, 2))
    assert votes(cluster, 3) == [True, False, True]


def test_node_remembers_its_vote_through_a_restart() -> None:
    """3.8: or it could vote twice."""
    cluster = Cluster(settings=PLAIN)
    cluster.tell(3, ask(1, 3, 2))
    cluster.restart(3)
    cluster.tell(3, ask(2, 3, 2))
    assert votes(cluster, 3) == [True, False]


def test_vote_is_durable_before_it_is_given() -> None:
    """3.8: the vote is on stable storage before the answer."""
    cluster = Cluster(settings=PLAIN)
    effects = cluster.tell(3, ask(1, 3, 2))
    assert [type(effect) for effect in effects[:2]] == [Persist, Send]
    assert isinstance(effects[0], Persist)
    assert effects[0].sync
    assert effects[0].hard_state == HardState(2, 1, 1)


@pytest.mark.parametrize(
    ("last_term", "last_index", "granted"),
    [(2, 3, True), (2, 4, True), (3, 2, True), (2, 2, False), (1, 9, False)],
)
def test_vote_goes_only_to_a_log_that_is_up_to_date(
    *, last_term: int, last_index: int, granted: bool
) -> None:
    """3.6.1: the later last term, then the longer log."""
    cluster = Cluster(recovered={3: logged(1, 2)}, settings=PLAIN)
    cluster.tell(3, ask(1, 3, 3, last_term=last_term, last_index=last_index))
    assert votes(cluster, 3) == [granted]


def test_voter_gives_its_candidate_the_time_to_lead() -> None:
    """3.4: granting a vote resets the election timeout, also in a term that it knew already."""
    cluster = Cluster(recovered={3: logged(term=2)}, settings=PLAIN)
    cluster.now = START + ELECTION * 0.9
    cluster.tell(3, ask(1, 3, 2))
    due = cluster.nodes[3].deadline()
    assert due is not None
    assert due >= cluster.now + ELECTION


def test_refusal_does_not_keep_a_voter_from_campaigning() -> None:
    """3.4: or one that can never win would hold up all others."""
    cluster = Cluster(recovered={3: logged(1, 2)}, settings=PLAIN)
    before = cluster.nodes[3].deadline()
    cluster.tell(3, ask(1, 3, 2, last_term=1, last_index=1))
    assert cluster.nodes[3].deadline() == before


def test_first_answer_of_a_voter_counts() -> None:
    """3.4: it votes once; whatever else comes in its name is late or doubled."""
    cluster = Cluster((1, 2, 3, 4, 5), settings=PLAIN)
    cluster.tell(1, Campaign())
    for voter, granted in ((2, False), (2, True), (3, False), (3, True)):
        answer = RequestVoteResponse(source=voter, target=1, term=2, granted=granted)
        cluster.tell(1, Receive(answer))
    assert cluster.role(1) is Role.CANDIDATE


def test_node_that_follows_a_leader_votes_for_nobody_in_that_term() -> None:
    """3.4: the term has its leader, even if this node has not voted."""
    cluster = Cluster(settings=PLAIN)
    cluster.tell(3, Receive(Heartbeat(source=1, target=3, term=2, commit=1, round=1)))
    assert cluster.state(3).vote is None
    cluster.tell(3, ask(2, 3, 2))
    assert votes(cluster, 3) == [False]


def test_split_vote_ends_in_a_later_term_with_one_leader() -> None:
    """3.4: each candidate times out and begins a new election."""
    cluster = Cluster((1, 2, 3, 4), settings=PLAIN)
    cluster.tell(1, Campaign())
    cluster.tell(2, Campaign())
    cluster.queue = type(cluster.queue)(
        sorted(cluster.queue, key=lambda m: (m.target - m.source) % 2 == 0, reverse=True)
    )
    cluster.deliver()
    assert cluster.leaders() == []
    cluster.advance(4 * ELECTION)
    assert len(cluster.leaders()) == 1
    assert cluster.state(cluster.leaders()[0]).term > 2


def test_candidate_follows_a_leader_of_its_term() -> None:
    """3.4: a candidate that hears a legitimate leader becomes follower."""
    cluster = Cluster(settings=PLAIN)
    cluster.tell(1, Campaign())
    cluster.tell(
        1,
        Receive(AppendEntries(source=2, target=1, term=2, prev_index=1, prev_term=1, commit=1)),
    )
    assert (cluster.role(1), cluster.state(1).leader) == (Role.FOLLOWER, 2)


@pytest.mark.parametrize("role", [Role.FOLLOWER, Role.CANDIDATE, Role.LEADER])
def test_higher_term_makes_anyone_a_follower(role: Role) -> None:
    """3.3: a larger term is taken over, and leaders and candidates step down."""
    cluster = Cluster(settings=PLAIN)
    if role is Role.CANDIDATE:
        cluster.tell(1, Campaign())
    elif role is Role.LEADER:
        cluster.elect(1)
    assert cluster.role(1) is role
    cluster.tell(1, Receive(Heartbeat(source=2, target=1, term=7, commit=0, round=1)))
    state = cluster.state(1)
    assert (state.role, state.term, state.leader, state.vote) == (Role.FOLLOWER, 7, 2, None)


def test_request_of_an_old_term_is_refused_with_the_present_one() -> None:
    """3.3: a request of a stale term is rejected."""
    cluster = Cluster(recovered={3: logged(term=5)})
    cluster.tell(3, ask(1, 3, 4))
    answer = cluster.sent(3, RequestVoteResponse)[-1]
    assert (answer.term, answer.granted) == (5, False)


def test_leader_sends_heartbeats_that_keep_others_from_campaigning() -> None:
    """3.4: heartbeats maintain authority."""
    cluster = Cluster()
    cluster.elect(1)
    cluster.advance(20 * ELECTION)
    assert (cluster.leaders(), cluster.state(1).term) == ([1], 2)


def test_single_node_leads_once_its_own_vote_is_durable() -> None:
    """3.8: also its own vote counts only then."""
    cluster = Cluster((1,))
    cluster.slow_disks.add(1)
    cluster.do(1, Campaign())
    assert cluster.role(1) is Role.CANDIDATE
    cluster.slow_disks.clear()
    cluster.restart(1)
    cluster.elect(1)


def test_learner_never_campaigns() -> None:
    """4.2.1: a non-voting member stands for no election."""
    cluster = Cluster((1, 2), learners=(3,))
    assert cluster.nodes[3].deadline() is None
    cluster.do(3, Campaign())
    assert cluster.refusals(3) == ["not-a-voter"]
    assert cluster.role(3) is Role.FOLLOWER


def test_learner_does_not_campaign_even_if_the_leader_asks() -> None:
    """4.2.1: the message may be older than its becoming one."""
    cluster = Cluster((1, 2), learners=(3,), settings=PLAIN)
    cluster.tell(3, Receive(TimeoutNow(source=1, target=3, term=1)))
    assert (cluster.role(3), cluster.state(3).term) == (Role.FOLLOWER, 1)


def test_learner_votes_when_asked() -> None:
    """4.1: it may be a voter without knowing yet."""
    # It may not know yet that it has become a voter whose vote is needed.
    cluster = Cluster((1, 2), learners=(3,), settings=PLAIN)
    cluster.tell(3, ask(1, 3, 2))
    assert votes(cluster, 3) == [True]


@pytest.mark.parametrize("node", [0, -1])
def test_node_has_a_number_from_one_on(node: int) -> None:
    """Ours: 0 is what others write for nobody."""
    with pytest.raises(ValueError, match=f"{node} names no node"):
        RaftNode(node, Recovered(), rng=seeded_rng(0))
