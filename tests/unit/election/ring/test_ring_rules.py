"""What one node does with one message, rule by rule."""

from __future__ import annotations

import pytest

from moreton.election.ring.core.algorithms import Algorithm, ElectionNode
from moreton.election.ring.core.algorithms.bully import BullyNode, BullyTimeouts
from moreton.election.ring.core.algorithms.chang_roberts import ChangRobertsNode
from moreton.election.ring.core.algorithms.hirschberg_sinclair import HirschbergSinclairNode
from moreton.election.ring.core.algorithms.lcr import LcrNode
from moreton.election.ring.core.errors import DuplicateUid
from moreton.election.ring.core.lap import Lap
from moreton.election.ring.core.ring import (
    Announcement,
    Answer,
    Candidate,
    Coordinator,
    Decide,
    Direction,
    Election,
    Halt,
    Message,
    Probe,
    Received,
    Reply,
    RingEffect,
    Send,
    Start,
    Status,
    Uid,
)
from moreton.kernel.time import Instant

NOW = Instant(0)
ME, LARGER, SMALLER = Uid(5), Uid(9), Uid(2)
CW, CCW = Direction.CLOCKWISE, Direction.COUNTERCLOCKWISE
OWN = Send(CW, Candidate(ME))


def got(node: ElectionNode, message: Message, now: Instant = NOW) -> list[RingEffect]:
    return list(node.handle(Received(message), now))


def started(node: ElectionNode) -> ElectionNode:
    node.handle(Start(), NOW)
    return node


def test_lcr_sends_its_own_uid_when_it_begins_and_only_once() -> None:
    node = LcrNode(ME)
    assert list(node.handle(Start(), NOW)) == [OWN]
    assert list(node.handle(Start(), NOW)) == []


def test_lcr_forwards_a_larger_uid_unchanged() -> None:
    assert got(LcrNode(ME), Candidate(LARGER)) == [Send(CW, Candidate(LARGER))]
    assert got(started(LcrNode(ME)), Candidate(LARGER)) == [Send(CW, Candidate(LARGER))]


def test_lcr_ignores_a_smaller_uid_and_sends_its_own_if_it_has_not_yet() -> None:
    node = LcrNode(ME)
    assert got(node, Candidate(SMALLER)) == [OWN]
    assert got(node, Candidate(SMALLER)) == []
    assert got(started(LcrNode(ME)), Candidate(SMALLER)) == []


def test_lcr_sends_its_own_after_it_forwarded_a_larger_one() -> None:
    """The rule asks only whether it sent its own; Chang and Roberts' would stay silent."""
    lcr, chang_roberts = LcrNode(ME), ChangRobertsNode(ME)
    for node in (lcr, chang_roberts):
        got(node, Candidate(LARGER))
    assert got(lcr, Candidate(SMALLER)) == [OWN]
    assert got(chang_roberts, Candidate(SMALLER)) == []


@pytest.mark.parametrize("kind", [LcrNode, ChangRobertsNode])
def test_own_uid_coming_back_makes_the_leader_who_announces_it(
    kind: type[LcrNode | ChangRobertsNode],
) -> None:
    node = started(kind(ME))
    assert got(node, Candidate(ME)) == [Decide(ME), Send(CW, Announcement(ME))]
    assert node.status is Status.LEADER
    assert got(node, Candidate(ME)) == []
    assert got(node, Announcement(ME)) == [Halt()]


@pytest.mark.parametrize("kind", [LcrNode, ChangRobertsNode, HirschbergSinclairNode])
def test_announcement_is_passed_on_once_and_stops_the_node(kind: type[LcrNode]) -> None:
    node = started(kind(ME))
    passed = [Decide(LARGER), Send(CW, Announcement(LARGER)), Halt()]
    assert got(node, Announcement(LARGER)) == passed
    assert got(node, Announcement(LARGER)) == []
    assert got(node, Candidate(Uid(99))) == []


def test_announcement_of_oneself_without_having_won_is_a_stray() -> None:
    node = started(LcrNode(ME))
    assert got(node, Announcement(ME)) == []
    assert not node.halted


def test_chang_roberts_replaces_a_smaller_uid_by_its_own_unless_it_takes_part() -> None:
    node = ChangRobertsNode(ME)
    assert got(node, Candidate(SMALLER)) == [OWN]
    assert got(node, Candidate(SMALLER)) == []


def test_probe_of_a_larger_node_goes_on_and_turns_round_at_its_end() -> None:
    node = HirschbergSinclairNode(ME)
    assert got(node, Probe(LARGER, CCW, 2, 3)) == [Send(CCW, Probe(LARGER, CCW, 2, 2))]
    assert got(node, Probe(LARGER, CCW, 2, 1)) == [Send(CW, Reply(LARGER, CW, 2))]


def test_probe_of_a_smaller_node_is_swallowed() -> None:
    assert got(started(HirschbergSinclairNode(ME)), Probe(SMALLER, CW, 0, 1)) == []


def test_both_replies_begin_the_next_phase_twice_as_far() -> None:
    node = started(HirschbergSinclairNode(ME))
    assert got(node, Reply(ME, CW, 0)) == []
    assert got(node, Reply(ME, CW, 0)) == []
    assert got(node, Reply(ME, CCW, 0)) == [
        Send(CW, Probe(ME, CW, 1, 2)),
        Send(CCW, Probe(ME, CCW, 1, 2)),
    ]
    assert got(node, Reply(ME, CCW, 0)) == []


def test_bully_leads_when_nobody_larger_answers_in_time() -> None:
    timeouts = BullyTimeouts()
    node = BullyNode(ME, [SMALLER, ME, LARGER], timeouts)
    assert list(node.handle(Start(), NOW)) == [Send(LARGER, Election(ME))]
    assert node.deadline() == NOW + timeouts.answer
    assert list(node.wake(NOW)) == []
    assert list(node.wake(NOW + timeouts.answer)) == [
        Decide(ME),
        Send(SMALLER, Coordinator(ME)),
        Halt(),
    ]
    assert node.deadline() is None


def test_bully_asks_again_when_who_answered_never_becomes_coordinator() -> None:
    timeouts = BullyTimeouts()
    node = BullyNode(ME, [SMALLER, ME, LARGER], timeouts)
    node.handle(Start(), NOW)
    assert got(node, Answer(LARGER)) == []
    assert list(node.wake(NOW + timeouts.answer)) == []
    assert list(node.wake(NOW + timeouts.coordinator)) == [Send(LARGER, Election(ME))]


def test_bully_answers_a_smaller_node_and_takes_over() -> None:
    node = BullyNode(ME, [SMALLER, ME, LARGER])
    assert got(node, Election(SMALLER)) == [
        Send(SMALLER, Answer(ME)),
        Send(LARGER, Election(ME)),
    ]
    assert got(node, Coordinator(LARGER)) == [Decide(LARGER), Halt()]
    assert node.leader == LARGER


def test_bully_does_not_follow_a_smaller_coordinator() -> None:
    node = BullyNode(ME, [SMALLER, ME, LARGER])
    assert got(node, Coordinator(SMALLER)) == [Send(LARGER, Election(ME))]
    assert node.leader is None


def test_bully_leader_tells_again_who_asks_again() -> None:
    node = started(BullyNode(LARGER, [SMALLER, ME, LARGER]))
    assert got(node, Election(ME)) == [Send(ME, Answer(LARGER))]
    assert got(node, Election(ME)) == [Send(ME, Answer(LARGER)), Send(ME, Coordinator(LARGER))]


def test_uids_that_are_not_unique_are_refused() -> None:
    with pytest.raises(DuplicateUid, match=r"uid 2, 7: .*give each its own uid") as refused:
        Lap([Uid(7), Uid(2), Uid(7), Uid(1), Uid(2)], Algorithm.LCR)
    assert refused.value.uids == ("2", "7")


def test_later_life_of_a_node_has_another_uid() -> None:
    Lap([Uid(7, 1), Uid(7, 2)], Algorithm.LCR)
    assert str(Uid(7, 2, "db")) == "7.2.db"
    assert str(Uid(7)) == "7"
    assert Uid(7, 2) > Uid(7, 1, "z")


def test_ring_without_nodes_or_initiators_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one node"):
        Lap([], Algorithm.LCR)
    with pytest.raises(ValueError, match="nobody begins"):
        Lap([ME], Algorithm.LCR, initiators=[])
