"""Bully: everyone knows everyone, and the largest that lives takes over.

Source: Garcia-Molina, "Elections in a distributed computing system", IEEE ToC C-31(1), 1982.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import assert_never

from moreton.election.ring.core.ring import (
    Answer,
    Coordinator,
    Decide,
    Effects,
    Election,
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


@dataclass(frozen=True, slots=True)
class BullyTimeouts:
    """How long to wait for an answer, and after one for the coordinator.

    The paper assumes that a living node answers within *answer*. Where it does not, two nodes
    may take themselves for the leader: only the store's token decides then.
    """

    answer: timedelta = timedelta(milliseconds=500)
    coordinator: timedelta = timedelta(seconds=2)


class BullyNode:
    """Asks all larger nodes; leads if none answers in time, else waits for the coordinator.

    Messages when the smallest of n living nodes begins: n(n-1)/2 questions, as many answers,
    n - 1 announcements: n**2 - 1. When the largest begins: n - 1.
    """

    def __init__(
        self, uid: Uid, others: Iterable[Uid], timeouts: BullyTimeouts | None = None
    ) -> None:
        self.uid = uid
        self.status = Status.ASLEEP
        self.leader: Uid | None = None
        self.halted = False
        self._larger = sorted(other for other in others if other > uid)
        self._smaller = sorted(other for other in others if other < uid)
        self._timeouts = timeouts or BullyTimeouts()
        self._due: Instant | None = None
        self._answered = False
        self._asked_by: set[Uid] = set()

    def handle(self, event: RingEvent, now: Instant) -> Sequence[RingEffect]:
        """As `Machine.handle`."""
        match event:
            case Start():
                return self._begin(now) if self.status is Status.ASLEEP else ()
            case _:
                return self._receive(event.message, now)

    def wake(self, now: Instant) -> Sequence[RingEffect]:
        """Lead if nobody answered; ask again if who answered then died."""
        if self._due is None or now < self._due:
            return ()
        return self._begin(now) if self._answered else self._win()

    def deadline(self) -> Instant | None:
        """When the answers, or the coordinator, should have come."""
        return self._due

    def _begin(self, now: Instant) -> Effects:
        self.status, self._answered = Status.CANDIDATE, False
        if not self._larger:
            return self._win()
        self._due = now + self._timeouts.answer
        return tuple(Send(other, Election(self.uid)) for other in self._larger)

    def _win(self) -> Effects:
        self._due = None
        self.status, self.leader, self.halted = Status.LEADER, self.uid, True
        told = tuple(Send(other, Coordinator(self.uid)) for other in self._smaller)
        return (Decide(self.uid), *told, Halt())

    def _receive(self, message: Message, now: Instant) -> Effects:
        match message:
            case Election():
                return self._asked(message.uid, now)
            case Answer() if self._due is not None and not self._answered:
                self._answered = True
                self._due = now + self._timeouts.coordinator
                return ()
            case Coordinator():
                return self._told(message.uid, now)
            case _:
                return ()

    def _asked(self, uid: Uid, now: Instant) -> Effects:
        answer = Send(uid, Answer(self.uid))
        again = uid in self._asked_by
        self._asked_by.add(uid)
        match self.status:
            case Status.ASLEEP:
                return (answer, *self._begin(now))
            case Status.LEADER if again:
                # Who asks twice did not get what it was told.
                return answer, Send(uid, Coordinator(self.uid))
            case Status.LEADER | Status.FOLLOWER | Status.CANDIDATE | Status.RELAY:
                return (answer,)
            case _:
                assert_never(self.status)

    def _told(self, uid: Uid, now: Instant) -> Effects:
        if uid < self.uid:
            return self._begin(now) if self.status is Status.ASLEEP else ()
        if uid in {self.leader, self.uid}:
            return ()
        known = self.leader is not None
        self._due = None
        self.status, self.leader, self.halted = Status.FOLLOWER, uid, True
        # A larger one than was known replaces it, silently: a node decides once.
        return () if known else (Decide(uid), Halt())
