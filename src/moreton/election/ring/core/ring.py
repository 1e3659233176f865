"""What a ring is made of: unique ids, two directions, and what a node is told and says.

An algorithm's machine is one node's part in one election. It sends to a direction (or, for
bully, to a node), and the host knows who stands there: that is what makes repair possible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import NamedTuple, TypeAlias

from moreton.election.ring.core.errors import DuplicateUid


class Uid(NamedTuple):
    """Who a node is; the largest wins. No two nodes of a ring may have the same.

    *boot* counts the restarts of a node, so that a message of an earlier life is not taken for
    one's own coming back.
    """

    priority: int
    boot: int = 0
    node: str = ""

    def __str__(self) -> str:
        text = str(self.priority)
        if self.boot or self.node:
            text += f".{self.boot}"
        return f"{text}.{self.node}" if self.node else text


class Direction(Enum):
    """A way around the ring."""

    CLOCKWISE = 1
    COUNTERCLOCKWISE = -1

    @property
    def opposite(self) -> Direction:
        """The other way."""
        return Direction(-self.value)


class Status(StrEnum):
    """What a node is in one election."""

    ASLEEP = "asleep"  # has neither begun nor been told
    CANDIDATE = "candidate"
    RELAY = "relay"  # passes on what it gets, and did not begin
    LEADER = "leader"
    FOLLOWER = "follower"  # knows the leader, and it is another


@dataclass(frozen=True, slots=True)
class Candidate:
    """A UID on its way round (Lynch's token, Chang and Roberts' `election`)."""

    uid: Uid


@dataclass(frozen=True, slots=True)
class Announcement:
    """The leader's round that tells everyone and ends the election (Lynch's `report`)."""

    leader: Uid


@dataclass(frozen=True, slots=True)
class Probe:
    """Hirschberg and Sinclair's outbound token: *hops* more to go, then it turns round."""

    uid: Uid
    direction: Direction
    phase: int
    hops: int


@dataclass(frozen=True, slots=True)
class Reply:
    """The same token on its way back: nobody within reach is larger."""

    uid: Uid
    direction: Direction
    phase: int


@dataclass(frozen=True, slots=True)
class Election:
    """Bully: *uid* asks those above it whether they live."""

    uid: Uid


@dataclass(frozen=True, slots=True)
class Answer:
    """Bully: *uid*, which is larger, lives and takes over."""

    uid: Uid


@dataclass(frozen=True, slots=True)
class Coordinator:
    """Bully: *uid* is the leader."""

    uid: Uid


Message: TypeAlias = Candidate | Announcement | Probe | Reply | Election | Answer | Coordinator


@dataclass(frozen=True, slots=True)
class Start:
    """This node is to begin an election."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message came in."""

    message: Message


@dataclass(frozen=True, slots=True)
class Send:
    """Send *message* to the neighbour in a direction, or to a node."""

    to: Direction | Uid
    message: Message


@dataclass(frozen=True, slots=True)
class Decide:
    """This node knows that *leader* leads; said once in an election."""

    leader: Uid


@dataclass(frozen=True, slots=True)
class Halt:
    """This node sends nothing more in this election."""


RingEvent: TypeAlias = Start | Received
RingEffect: TypeAlias = Send | Decide | Halt
Effects: TypeAlias = tuple[RingEffect, ...]


def check_unique(uids: Iterable[Uid]) -> None:
    """Raises `DuplicateUid` if a UID is there twice: equal means "my own has come back"."""
    counts = Counter(uids)
    repeated = sorted(uid for uid, count in counts.items() if count > 1)
    if repeated:
        raise DuplicateUid(uids=[str(uid) for uid in repeated])
