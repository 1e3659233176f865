"""How long one may believe to hold a lease: the one part of an election that lives in time.

Source: Gray and Cheriton, "Leases", SOSP 1989, section 2: the holder's term begins when the request
was sent, and ends earlier than the server's by the bound on the clocks' difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias, assert_never

from moreton.kernel.quantities import format_duration
from moreton.kernel.rng import Rng
from moreton.kernel.time import Instant

# Three renewals fit into a lease: two may be lost.
RENEWALS_PER_TTL = 3
# Renewals move within this share of their interval, so that a fleet does not beat as one.
JITTER = 0.1
# A failed renewal is tried again after at most this share of the lease.
RETRY_SHARE = 1 / 12
# The holder gives up this share of the lease before its end: for clocks that do not run alike, and
# for what it does until it stops.
MARGIN = 0.1


@dataclass(frozen=True, slots=True)
class Renewed:
    """The store renewed the lease for *ttl*, upon a request sent at *asked* or later."""

    asked: Instant
    ttl: timedelta


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Whether the lease was renewed is not known."""

    reason: str


@dataclass(frozen=True, slots=True)
class LeaseGone:
    """The store does not have the lease, or nothing hangs on it any more."""

    reason: str


@dataclass(frozen=True, slots=True)
class TurnCame:
    """From now on something is held: its end must not be missed."""


@dataclass(frozen=True, slots=True)
class Renew:
    """Effect: renew, at most for *within*; answer with `Renewed`, `Unanswered` or `LeaseGone`.

    The next one may come before the answer to this: a slow store is asked again, and whichever
    answer comes first counts.
    """

    within: timedelta


@dataclass(frozen=True, slots=True)
class Lose:
    """Effect: stop at once. The last one."""

    reason: str


TenureEvent: TypeAlias = Renewed | Unanswered | LeaseGone | TurnCame
TenureEffect: TypeAlias = Renew | Lose


def usable(ttl: timedelta) -> timedelta:
    """For how long a lease of *ttl* may be trusted, from before the request for it was sent."""
    return ttl * (1 - MARGIN)


class Tenure:
    """Keeps one lease, and says when it must be thought lost.

    It never trusts a lease for longer than nine tenths of its time from before the request for it
    was sent. Without an answer it goes on asking: a place in a queue is lost only when the store
    says so, but what is held is lost when that time is over.
    """

    def __init__(self, ttl: timedelta, rng: Rng, *, asked: Instant) -> None:
        self._ttl = ttl
        self._rng = rng
        self._trouble = ""
        self._holding = self._ended = False
        self._sent = asked
        self.held_until = asked + usable(ttl)
        self._due = self._next_renewal(asked)

    def handle(self, event: TenureEvent, now: Instant) -> Sequence[TenureEffect]:
        """What follows from *event*."""
        if self._ended:
            return ()
        match event:
            case Renewed(asked, ttl):
                self._trouble = ""
                self.held_until = max(self.held_until, asked + usable(min(ttl, self._ttl)))
                if asked >= self._sent:  # else a later request is under way
                    self._due = self._next_renewal(asked)
            case Unanswered(reason):
                self._trouble = reason
                pause = self._ttl * RETRY_SHARE * self._rng.uniform(0.5, 1)
                self._due = min(self._due, now + pause)
            case LeaseGone(reason):
                return self._lose(reason)
            case TurnCame():
                self._holding = True
            case _:
                assert_never(event)
        return self.wake(now)

    def wake(self, now: Instant) -> Sequence[TenureEffect]:
        """Renew what is due; lose what is over."""
        if self._ended:
            return ()
        if self._holding and now >= self.held_until:
            return self._lose(self._why(now))
        if now < self._due:
            return ()
        self._sent = now
        self._due = self._next_renewal(now)
        # An answer that comes later than this is of no use.
        return (Renew(usable(self._ttl)),)

    def deadline(self) -> Instant | None:
        """When the next renewal is due, or what is held is over."""
        if self._ended:
            return None
        return min(self._due, self.held_until) if self._holding else self._due

    def _next_renewal(self, asked: Instant) -> Instant:
        interval = self._ttl / RENEWALS_PER_TTL
        return asked + interval * self._rng.uniform(1 - JITTER, 1)

    def _lose(self, reason: str) -> tuple[Lose]:
        self._ended = True
        return (Lose(reason),)

    def _why(self, now: Instant) -> str:
        late = now - self.held_until
        if late > self._ttl * RETRY_SHARE:
            return (
                f"this process was stopped, or its event loop blocked, until {_shown(late)} after "
                "its lease had to be thought over"
            )
        trouble = self._trouble or "a renewal was not answered"
        return f"its lease of {format_duration(self._ttl)} could not be renewed in time, {trouble}"


def _shown(length: timedelta) -> str:
    return f"{length.total_seconds():.3g}s"
