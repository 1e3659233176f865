"""What members of a ring that repairs itself send each other, and what a decision is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from moreton.election.ring.core.ring import Announcement, Message, Uid


@dataclass(frozen=True, slots=True)
class Decision:
    """*leader* leads since election number *epoch*.

    *token* is the fencing token that the store gave for it; larger is newer. Without one the
    decision is advisory: another part of a divided ring may have decided otherwise.
    """

    epoch: int
    leader: Uid
    token: int | None = None

    @property
    def is_advisory(self) -> bool:
        """Whether no store stands behind it."""
        return self.token is None

    @property
    def rank(self) -> tuple[int, int, Uid]:
        """Of two decisions the one of higher rank counts."""
        return self.epoch, self.token or 0, self.leader

    def follows(self, other: Decision | None) -> bool:
        """Whether this one replaces *other*."""
        return other is None or self.rank > other.rank


@dataclass(frozen=True, slots=True)
class Carry:
    """An algorithm's message for one hop; *hops* counts those that it has made with this one."""

    epoch: int
    seq: int
    hops: int
    message: Message
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks whether the next member is there."""

    epoch: int
    seq: int
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    """The frame *seq* arrived."""

    epoch: int
    seq: int
    decision: Decision | None = None


Frame: TypeAlias = Carry | Ping | Ack


@dataclass(frozen=True, slots=True)
class Begin:
    """This member is to begin an election, unless it knows a leader already."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A frame came from the member *source*."""

    source: Uid
    frame: Frame


@dataclass(frozen=True, slots=True)
class Claimed:
    """What came of the claim of *epoch*: *holder* leads, by the store or for want of one."""

    epoch: int
    holder: Decision


@dataclass(frozen=True, slots=True)
class Transmit:
    """Send *frame* to the member *target*; it may be lost."""

    target: Uid
    frame: Frame


@dataclass(frozen=True, slots=True)
class Claim:
    """Compare and set the leader in the store, then tell `Claimed`."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Follow:
    """*decision* is in force for this member; whoever led before and is not its leader stops."""

    decision: Decision


MemberEvent: TypeAlias = Begin | Arrived | Claimed
MemberEffect: TypeAlias = Transmit | Claim | Follow


@dataclass(frozen=True, slots=True)
class Timings:
    """How fast a ring repairs itself, and how patient it is.

    A dead neighbour is skipped after *acknowledge* times *attempts*; a dead leader is noticed
    one *heartbeat* later than that. An election that takes longer than *election* (to twice
    that, drawn anew each time) is begun again: choose it well above a lap's duration.
    """

    heartbeat: timedelta = timedelta(milliseconds=200)
    acknowledge: timedelta = timedelta(milliseconds=250)
    attempts: int = 3
    election: timedelta = timedelta(seconds=2)

    def __post_init__(self) -> None:
        shortest = min(self.heartbeat, self.acknowledge, self.election)
        if shortest <= timedelta(0) or self.attempts < 1:
            message = f"{self} has a time or a number of attempts that is not above zero"
            raise ValueError(message)


def subject(message: Message) -> Uid:
    """The node that *message* is about."""
    return message.leader if isinstance(message, Announcement) else message.uid


def may_take(held: Decision | None, epoch: int) -> bool:
    """Whether a claim of *epoch* replaces what the store holds: only a later election does."""
    return held is None or held.epoch < epoch
