"""What the ring algorithms share: a node without timers, and the leader's last round."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from moreton.election.ring.core.ring import (
    Announcement,
    Decide,
    Direction,
    Effects,
    Halt,
    Message,
    RingEffect,
    RingEvent,
    Send,
    Start,
    Status,
    Uid,
)
from moreton.kernel.time import Instant


class RingNode(ABC):
    """One node's part in one election on a ring; time plays no part in it.

    It assumes what the papers do: messages between neighbours are neither lost nor forged. Late
    and repeated ones never make a second leader.
    """

    def __init__(self, uid: Uid) -> None:
        self.uid = uid
        self.status = Status.ASLEEP
        self.leader: Uid | None = None
        self.halted = False

    def handle(self, event: RingEvent, now: Instant) -> Sequence[RingEffect]:
        """As `Machine.handle`; a node that halted says nothing any more."""
        del now
        if self.halted:
            return ()
        if isinstance(event, Start):
            return self._begin() if self.status is Status.ASLEEP else ()
        message = event.message
        if isinstance(message, Announcement):
            return self._announced(message)
        return self._receive(message)

    def wake(self, now: Instant) -> Sequence[RingEffect]:
        """Nothing is ever due."""
        del now
        return ()

    def deadline(self) -> Instant | None:
        """There is none: only messages change anything."""
        return None

    @abstractmethod
    def _begin(self) -> Effects:
        """Become a candidate."""

    @abstractmethod
    def _receive(self, message: Message) -> Effects:
        """What follows from *message*, which is no announcement."""

    def _win(self) -> Effects:
        if self.status is Status.LEADER:
            return ()
        self.status, self.leader = Status.LEADER, self.uid
        return Decide(self.uid), Send(Direction.CLOCKWISE, Announcement(self.uid))

    def _announced(self, message: Announcement) -> Effects:
        if message.leader == self.uid:
            # One's own announcement has told everyone; someone else's with one's uid is a stray.
            self.halted = self.status is Status.LEADER
            return (Halt(),) if self.halted else ()
        self.status, self.leader, self.halted = Status.FOLLOWER, message.leader, True
        return Decide(message.leader), Send(Direction.CLOCKWISE, message), Halt()
