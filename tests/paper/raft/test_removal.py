"""Nodes that are removed, and those who stay without knowing: section 4.2.2 of Ongaro's thesis."""

from __future__ import annotations

from dataclasses import replace

import pytest

from moreton.consensus.core.configuration import (
    ChangeKind,
    ConfigurationChange,
    NodeChange,
    Transition,
    encode_change,
)
from moreton.consensus.core.events import Campaign, ProposeChange, Receive
from moreton.consensus.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    EntryKind,
    HardState,
    HeartbeatResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from moreton.consensus.core.state import Recovered, Role, Settings
from unit.consensus.raft_cluster import ELECTION, Cluster, changing, voters

SETTINGS = Settings(election_timeout=ELECTION)
REMOVE_1 = ConfigurationChange((NodeChange(ChangeKind.REMOVE, 1),))


def stranded(term: int = 2) -> Cluster:
    """Node 1 led, was removed, and has the longer log; node 2, in *term*, does not know of it."""
    founded = Recovered.first(voters(1, 2))
    removal = Entry(2, 2, EntryKind.CONFIGURATION, encode_change(REMOVE_1))
    gone = replace(
        founded,
        hard_state=HardState(2, 1, 2),
        entries=(removal, Entry(2, 3, data=b"never committed")),
    )
    left = replace(founded, hard_state=HardState(term, None, 1), entries=(removal,))
    return Cluster(recovered={1: gone, 2: left}, settings=SETTINGS)


@pytest.mark.parametrize("term", [2, 9])
def test_removed_voter_with_the_longer_log_stops_nobody(term: int) -> None:
    """4.2.2: it refuses its vote, but says what is committed; so its removal becomes known."""
    cluster = stranded(term)
    assert cluster.nodes[1].deadline() is None  # it will never campaign itself
    assert cluster.nodes[2].status().configuration == voters(1, 2)
    cluster.advance(6 * ELECTION)
    assert cluster.leaders() == [2]
    assert cluster.nodes[2].status().configuration == voters(2)
    refused = [m.granted for m in cluster.sent(1, RequestVoteResponse)]
    assert refused
    assert not any(refused)


def test_candidate_says_what_it_knows_to_be_committed_too() -> None:
    """4.2.2: the one who asks may be the one who knows."""
    cluster = stranded()
    request = RequestVote(
        source=9, target=2, term=1, last_index=1, last_term=1, commit=2, commit_term=2
    )
    cluster.tell(2, Receive(request))
    assert cluster.nodes[2].status().configuration == voters(2)


@pytest.mark.parametrize(("index", "term"), [(2, 1), (3, 2), (1, 1), (0, 0), (9, 9)])
def test_only_what_the_log_holds_is_committed_by_hearsay(index: int, term: int) -> None:
    """3.5, log matching: the same index and term mean the same entries up to there."""
    cluster = stranded()
    answer = RequestVoteResponse(
        source=1, target=2, term=2, granted=False, commit=index, commit_term=term
    )
    cluster.tell(2, Receive(answer))
    assert cluster.state(2).log.committed == 1


def test_candidate_that_learns_of_another_configuration_begins_anew() -> None:
    """4.1: votes were asked of who may no longer count."""
    cluster = stranded()
    cluster.tell(2, Campaign())
    assert cluster.role(2) is Role.PRE_CANDIDATE
    cluster.deliver()
    assert cluster.role(2) is Role.FOLLOWER
    cluster.do(2, Campaign())
    assert cluster.role(2) is Role.LEADER


@pytest.mark.parametrize("transition", Transition)
def test_removed_node_is_told_once_and_rests(transition: Transition) -> None:
    """4.2.3: it would begin elections otherwise, as nobody sends it heartbeats any more."""
    cluster = Cluster(settings=SETTINGS)
    cluster.elect(1)
    change = ConfigurationChange((NodeChange(ChangeKind.REMOVE, 3),), transition)
    cluster.do(1, ProposeChange(change))
    if transition is Transition.EXPLICIT:
        cluster.do(1, ProposeChange(ConfigurationChange()))
    assert cluster.nodes[3].status().configuration == voters(1, 2)
    assert cluster.nodes[3].deadline() is None
    before = len(cluster.sent(1, AppendEntries))
    cluster.propose(1, "x")
    assert {m.target for m in cluster.sent(1, AppendEntries)[before:]} == {2}


def test_answers_of_who_is_no_member_count_for_nothing() -> None:
    """4.2.2: they may arrive long after its removal."""
    cluster = Cluster(settings=SETTINGS)
    cluster.elect(1)
    cluster.do(1, changing("r3"))
    for answer in (
        HeartbeatResponse(source=3, target=1, term=2, round=3),
        AppendEntriesResponse(source=3, target=1, term=2, index=3),
    ):
        assert cluster.tell(1, Receive(answer)) == []
    late = HeartbeatResponse(source=9, target=1, term=7, round=1)
    cluster.tell(1, Receive(late))
    assert cluster.role(1) is Role.FOLLOWER  # its term counts all the same (section 3.3)


def test_leader_hands_on_when_it_is_removed() -> None:
    """4.2.2 and 3.10: so that nobody waits for an election timeout."""
    cluster = Cluster(settings=SETTINGS)
    cluster.elect(1)
    before = cluster.now
    cluster.do(1, ProposeChange(REMOVE_1))
    assert len(cluster.sent(1, TimeoutNow)) == 1
    assert cluster.leaders()[0] in {2, 3}
    assert cluster.now == before


def test_leader_hands_on_to_who_has_the_most() -> None:
    """4.2.2 and 3.10: another could not win."""
    cluster = Cluster((1, 2, 3, 4), settings=SETTINGS)
    cluster.elect(1)
    cluster.drop = lambda m: isinstance(m, AppendEntries) and m.target == 2
    cluster.do(1, ProposeChange(REMOVE_1))
    assert [m.target for m in cluster.sent(1, TimeoutNow)] == [3]
    assert cluster.leaders() == [3]


def test_those_who_stay_elect_someone_even_if_the_message_is_lost() -> None:
    """4.2.2: by the election timeout."""
    cluster = Cluster(settings=SETTINGS)
    cluster.elect(1)
    cluster.drop = lambda m: isinstance(m, TimeoutNow)
    cluster.do(1, ProposeChange(REMOVE_1))
    assert cluster.leaders() == []
    cluster.advance(4 * ELECTION)
    assert len(cluster.leaders()) == 1
