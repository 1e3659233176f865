"""One member that repairs its ring: what it does about silence, old news and refused claims."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from moreton.election.ring.core.errors import DuplicateUid, NotAMember
from moreton.election.ring.core.frames import (
    Ack,
    Arrived,
    Begin,
    Carry,
    Claim,
    Claimed,
    Decision,
    Follow,
    MemberEffect,
    Ping,
    Timings,
    Transmit,
)
from moreton.election.ring.core.member import Member
from moreton.election.ring.core.ring import Announcement, Candidate, Message, Uid
from moreton.kernel.rng import seeded_rng
from moreton.kernel.time import Instant

ME, NEXT, AFTER, LAST = Uid(5), Uid(2), Uid(9), Uid(1)
RING = (ME, NEXT, AFTER, LAST)
TIMINGS = Timings()
SILENCE = TIMINGS.acknowledge * TIMINGS.attempts
LONG = 2 * TIMINGS.election


class Clocked:
    """A member, its clock, and what it said since one last asked."""

    def __init__(self) -> None:
        self.member = Member(ME, RING, rng=seeded_rng(1), timings=TIMINGS)
        self.now = Instant(0)
        self.said: list[MemberEffect] = []

    def tell(self, event: Begin | Arrived | Claimed) -> Sequence[MemberEffect]:
        self.said = list(self.member.handle(event, self.now))
        return self.said

    def passes(self, time: timedelta) -> list[MemberEffect]:
        """Let *time* pass with a wake at every deadline; all that was said."""
        end = self.now + time
        said: list[MemberEffect] = []
        while (due := self.member.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            said += self.member.wake(self.now)
        self.now = end
        self.said = said
        return said

    def carried(self) -> list[tuple[Uid, Message]]:
        return [
            (each.target, each.frame.message)
            for each in self.said
            if isinstance(each, Transmit) and isinstance(each.frame, Carry)
        ]

    def pinged(self) -> set[Uid]:
        transmits = [each for each in self.said if isinstance(each, Transmit)]
        return {each.target for each in transmits if isinstance(each.frame, Ping)}

    def hears(self, source: Uid, message: Message, *, epoch: int = 1, seq: int = 1) -> None:
        self.tell(Arrived(source, Carry(epoch, seq, 1, message)))

    def decides(self, leader: Uid, *, epoch: int = 1, token: int = 2) -> None:
        self.tell(Arrived(LAST, Ping(epoch, 1, Decision(epoch, leader, token))))


def test_unacknowledged_token_is_sent_again_then_to_the_next_in_the_same_election() -> None:
    clocked = Clocked()
    clocked.tell(Begin())
    assert clocked.carried() == [(NEXT, Candidate(ME))]
    clocked.passes(SILENCE)
    again, rerouted = [(NEXT, Candidate(ME))] * 2, (AFTER, Candidate(ME))
    assert clocked.carried() == [*again, rerouted]
    assert clocked.member.epoch == 1
    assert clocked.member.counts.skipped == 1


def test_acknowledged_token_is_not_sent_again() -> None:
    clocked = Clocked()
    said = clocked.tell(Begin())
    carry = next(e.frame for e in said if isinstance(e, Transmit))
    clocked.tell(Arrived(AFTER, Ack(1, carry.seq)))  # not from who it was sent to
    assert clocked.member.deadline() is not None
    clocked.tell(Arrived(NEXT, Ack(1, carry.seq)))
    clocked.passes(TIMINGS.acknowledge * 1.5)
    assert clocked.carried() == []


def test_skipped_neighbour_that_speaks_is_the_neighbour_again() -> None:
    clocked = Clocked()
    clocked.passes(SILENCE * 2)
    assert NEXT in clocked.member.neighbours.suspects
    clocked.passes(TIMINGS.heartbeat)
    assert NEXT in clocked.pinged(), "a skipped one is asked whether it is back"
    clocked.tell(Arrived(NEXT, Ping(0, 7)))
    clocked.tell(Begin())
    assert clocked.carried() == [(NEXT, Candidate(ME))]


def test_winner_is_announced_only_when_its_claim_is_through() -> None:
    clocked = Clocked()
    clocked.tell(Begin())
    clocked.hears(LAST, Candidate(ME))
    assert Claim(1) in clocked.said
    assert clocked.carried() == []
    mine = Decision(1, ME, 40)
    clocked.tell(Claimed(1, mine))
    assert Follow(mine) in clocked.said
    assert clocked.carried() == [(NEXT, Announcement(ME))]
    assert clocked.member.is_leader


def test_refused_winner_follows_who_holds_the_claim() -> None:
    clocked = Clocked()
    clocked.tell(Begin())
    clocked.hears(LAST, Candidate(ME))
    holder = Decision(1, AFTER, 40)
    assert Follow(holder) in clocked.tell(Claimed(1, holder))
    assert clocked.carried() == []
    assert not clocked.member.is_leader


def test_refused_winner_begins_a_later_election_when_the_holder_seems_dead() -> None:
    clocked = Clocked()
    clocked.member.neighbours.suspects.add(AFTER)
    clocked.tell(Begin())
    clocked.hears(LAST, Candidate(ME))
    clocked.tell(Claimed(1, Decision(7, AFTER, 40)))
    assert clocked.member.epoch == 8
    assert clocked.carried() == [(NEXT, Candidate(ME))]


def test_refused_winner_begins_a_later_election_when_an_earlier_life_holds_it() -> None:
    clocked = Clocked()
    clocked.tell(Begin())
    clocked.hears(LAST, Candidate(ME))
    clocked.tell(Claimed(1, Decision(7, Uid(9, boot=3), 40)))
    assert clocked.member.epoch == 8


def test_claim_of_an_election_that_was_left_does_not_count() -> None:
    clocked = Clocked()
    clocked.tell(Begin())
    clocked.hears(LAST, Candidate(ME))
    clocked.hears(LAST, Candidate(AFTER), epoch=2, seq=2)
    clocked.tell(Claimed(1, Decision(1, ME, 40)))
    assert clocked.member.epoch == 2
    assert not clocked.member.is_leader


def test_claim_that_is_never_answered_leads_to_another_election() -> None:
    clocked = Clocked()
    clocked.tell(Begin())
    clocked.hears(LAST, Candidate(ME))
    clocked.passes(LONG)
    assert clocked.member.epoch == 2


def test_decision_of_an_older_election_than_the_one_under_way_is_not_followed() -> None:
    clocked = Clocked()
    clocked.hears(LAST, Candidate(NEXT), epoch=5)
    clocked.decides(AFTER, epoch=4)
    assert clocked.member.decision is None
    assert clocked.member.epoch == 5


def test_decided_election_takes_no_more_candidates() -> None:
    clocked = Clocked()
    clocked.decides(LAST)
    assert clocked.member.is_settled
    clocked.hears(LAST, Candidate(NEXT))
    assert clocked.carried() == []
    clocked.hears(LAST, Announcement(LAST), seq=2)
    assert clocked.carried() == [(NEXT, Announcement(LAST))]


def test_repeated_frame_is_acknowledged_and_not_taken_twice() -> None:
    clocked = Clocked()
    for _ in range(2):
        clocked.hears(LAST, Candidate(AFTER), seq=77)
        assert any(isinstance(e, Transmit) and isinstance(e.frame, Ack) for e in clocked.said)
    assert clocked.carried() == []


def test_leader_is_replaced_when_its_predecessor_finds_it_silent() -> None:
    clocked = Clocked()
    clocked.decides(NEXT, epoch=3)
    clocked.passes(TIMINGS.heartbeat + SILENCE)
    assert clocked.member.epoch == 4


def test_leader_told_by_others_but_known_to_be_silent_is_given_time_then_replaced() -> None:
    clocked = Clocked()
    clocked.member.neighbours.suspects.add(AFTER)
    clocked.decides(AFTER, epoch=3)
    assert clocked.member.epoch == 3
    clocked.passes(LONG)
    assert clocked.member.epoch >= 4


def test_of_two_decisions_of_one_election_the_later_token_counts() -> None:
    clocked = Clocked()
    clocked.decides(AFTER, token=5)
    clocked.decides(LAST, token=4)
    assert clocked.member.decision == Decision(1, AFTER, 5)
    clocked.decides(LAST, token=6)
    assert clocked.member.decision == Decision(1, LAST, 6)


def test_node_outside_its_ring_or_a_ring_with_doubles_is_refused() -> None:
    with pytest.raises(NotAMember, match="5 is not among the 2 members"):
        Member(ME, (NEXT, AFTER), rng=seeded_rng(1))
    with pytest.raises(DuplicateUid):
        Member(ME, (ME, NEXT, NEXT), rng=seeded_rng(1))


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"heartbeat": timedelta(0)}])
def test_timings_above_zero_are_asked_for(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="not above zero"):
        Timings(**wrong)  # type: ignore[arg-type]
