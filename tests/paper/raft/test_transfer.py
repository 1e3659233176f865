"""Handing over leadership: section 3.10 of Ongaro's thesis."""

from __future__ import annotations

from dataclasses import replace

from moreton.consensus.core.configuration import ChangeKind, ConfigurationChange, NodeChange
from moreton.consensus.core.events import (
    Propose,
    ProposeChange,
    Receive,
    TransferLeadership,
)
from moreton.consensus.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    RequestVote,
    TimeoutNow,
)
from moreton.consensus.core.state import Role, Settings
from unit.consensus.raft_cluster import ELECTION, Cluster

SETTINGS = Settings(election_timeout=ELECTION)


def led(*nodes: int, learners: tuple[int, ...] = ()) -> Cluster:
    cluster = Cluster(nodes or (1, 2, 3), learners=learners, settings=SETTINGS)
    cluster.elect(1)
    return cluster


def test_leader_hands_over_to_who_has_everything() -> None:
    """3.10: it sends TimeoutNow, and the target is elected at once."""
    cluster = led()
    before = cluster.now
    cluster.do(1, TransferLeadership(3))
    assert cluster.leaders() == [3]
    assert (cluster.now, cluster.state(3).term) == (before, 3)


def test_voters_do_not_protect_a_leader_that_hands_over() -> None:
    """4.2.3, end: the request for a vote says that the leader itself wants it."""
    cluster = led()
    cluster.do(1, TransferLeadership(3))
    requests = cluster.sent(3, RequestVote)
    assert all(message.transfer and not message.pre for message in requests)


def test_target_is_brought_up_to_date_first() -> None:
    """3.10: step 2, the leader replicates to the target until their logs match."""
    cluster = led()
    cluster.isolate(3)
    cluster.propose(1, "a", "b")
    cluster.heal()
    cluster.drop = lambda m: isinstance(m, AppendEntries)
    cluster.do(1, TransferLeadership(3))
    assert not cluster.sent(1, TimeoutNow)
    cluster.drop = lambda _: False
    cluster.advance(ELECTION / 2)
    assert cluster.leaders() == [3]
    assert cluster.data(3) == ["a", "b"]


def test_target_is_asked_at_once_what_it_lacks() -> None:
    """3.10: not with the next heartbeat."""
    cluster = led()
    cluster.isolate(3)
    cluster.propose(1, "a", "b")
    cluster.heal()
    before = cluster.now
    cluster.do(1, TransferLeadership(3))
    assert (cluster.leaders(), cluster.now) == ([3], before)


def test_leader_takes_none_that_were_passed_on_either() -> None:
    """3.10: step 1; who passed them on tries again, as after any lost message."""
    cluster = led()
    cluster.isolate(3)
    cluster.do(1, TransferLeadership(3))
    before = cluster.log(1)
    cluster.do(2, Propose(b"x"))
    assert cluster.log(1) == before
    assert cluster.refusals(1) == []


def test_leader_takes_no_proposals_while_it_hands_over() -> None:
    """3.10: step 1, or the target might never catch up."""
    cluster = led()
    cluster.isolate(3)
    change = ProposeChange(ConfigurationChange((NodeChange(ChangeKind.ADD_VOTER, 4),)))
    cluster.do(1, TransferLeadership(3), Propose(b"x"), change)
    assert cluster.refusals(1) == ["transferring", "transferring"]


def test_leader_goes_on_when_the_target_does_not_take_over() -> None:
    """3.10: if it takes longer than an election timeout, the leader resumes."""
    cluster = led()
    cluster.isolate(3)
    cluster.do(1, TransferLeadership(3))
    cluster.advance(ELECTION * 0.9)
    cluster.propose(1, "x")
    assert cluster.refusals(1) == ["transferring"]
    cluster.advance(ELECTION * 0.2)
    cluster.propose(1, "y")
    assert (cluster.leaders(), cluster.data(2)) == ([1], ["y"])


def test_new_wish_replaces_the_old() -> None:
    """3.10: whoever was asked first may be dead."""
    cluster = led()
    cluster.isolate(3)
    cluster.do(1, TransferLeadership(3))
    cluster.do(1, TransferLeadership(2))
    assert cluster.leaders() == [2]


def test_wish_that_is_repeated_does_not_prolong_the_wait() -> None:
    """3.10: a hand-over ends after an election timeout, however often it is asked for."""
    cluster = led()
    cluster.isolate(3)
    cluster.do(1, TransferLeadership(3))
    cluster.advance(ELECTION * 0.9)
    cluster.do(1, TransferLeadership(3))
    cluster.advance(ELECTION * 0.2)
    cluster.propose(1, "y")
    assert cluster.data(2) == ["y"]


def test_learner_and_stranger_cannot_take_over() -> None:
    """3.10: the target must be electable."""
    cluster = led(1, 2, 3, learners=(4,))
    cluster.do(1, TransferLeadership(4), TransferLeadership(9))
    assert cluster.refusals(1) == ["not-a-voter", "not-a-voter"]
    assert not cluster.sent(1, TimeoutNow)


def test_handing_over_to_oneself_changes_nothing() -> None:
    """3.10: it leads already."""
    cluster = led()
    cluster.do(1, TransferLeadership(1), Propose(b"x"))
    assert (cluster.leaders(), cluster.data(2)) == ([1], ["x"])


def test_follower_passes_the_wish_on() -> None:
    """6.2: by way of whoever is asked."""
    cluster = led()
    cluster.do(2, TransferLeadership(3))
    assert cluster.leaders() == [3]


def test_wish_without_a_leader_is_refused() -> None:
    """6.2: there is nobody to hand over."""
    cluster = Cluster(settings=SETTINGS)
    cluster.do(2, TransferLeadership(3))
    assert cluster.refusals(2) == ["no-leader"]


def test_removed_target_ends_the_hand_over() -> None:
    """3.10 and 4: who is no member any more is not waited for."""
    cluster = led(1, 2, 3)
    cluster.isolate(3)
    remove = ConfigurationChange((NodeChange(ChangeKind.REMOVE, 3),))
    cluster.drop = lambda m: isinstance(m, AppendEntriesResponse)
    cluster.do(1, ProposeChange(remove))
    cluster.do(1, TransferLeadership(3))
    cluster.drop = lambda _: False
    cluster.advance(ELECTION / 2)
    cluster.propose(1, "x")
    assert cluster.data(2) == ["x"]


def test_late_timeout_now_of_an_older_term_is_ignored() -> None:
    """3.3: messages of older terms mean nothing."""
    cluster = led()
    cluster.do(1, TransferLeadership(3))
    late = cluster.sent(1, TimeoutNow)[0]
    cluster.do(3, TransferLeadership(1))
    cluster.do(3, Receive(late))
    assert (cluster.leaders(), cluster.state(1).term) == ([1], 4)


def test_target_that_loses_its_message_is_asked_again() -> None:
    """3.10: TimeoutNow may be lost; an answer of the target brings the next."""
    cluster = led()
    cluster.drop = lambda m: isinstance(m, TimeoutNow)
    cluster.do(1, TransferLeadership(3))
    cluster.drop = lambda _: False
    cluster.advance(ELECTION * 1.5)
    assert cluster.leaders() in ([1], [3])
    cluster.do(cluster.leaders()[0], TransferLeadership(2))
    assert cluster.leaders() == [2]


def test_hand_over_works_without_pre_vote_and_check_quorum() -> None:
    """3.10: it needs neither."""
    plain = replace(SETTINGS, pre_vote=False, check_quorum=False)
    cluster = Cluster(settings=plain)
    cluster.elect(1)
    cluster.do(1, TransferLeadership(2))
    assert cluster.leaders() == [2]
    assert cluster.role(1) is Role.FOLLOWER
