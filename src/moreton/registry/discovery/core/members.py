"""An instance as one client knows it: what is under way there, and whether it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from moreton.kernel.time import Instant
from moreton.registry.core.instance import Instance

# Doubled so often, every ejection is at its cap.
_DOUBLINGS_MAX = 16


class Outcome(StrEnum):
    """How a request to an instance ended, as far as it tells of the instance."""

    ANSWERED = "answered"  # with any status: somebody is there
    REFUSED = "refused"  # nobody listens: the instance is avoided at once
    FAILED = "failed"  # no answer: a reset, or the time was over
    ABANDONED = "abandoned"  # the caller gave up: says nothing


@dataclass(slots=True, eq=False)
class Member:
    """One instance, and what this client has seen of it; changed by its balancer only."""

    instance: Instance
    # When it appeared among others that were there before; `None`: it was there from the start.
    since: Instant | None = None
    outstanding: int = 0
    failures: int = 0  # in a row
    ejections: int = 0  # in a row
    ejected_until: Instant | None = None
    refused: bool = False
    ejected_total: int = field(default=0)

    def is_usable(self, now: Instant, *, panic: bool = False) -> bool:
        """Whether to send it requests; after an ejection one at a time, until one is answered.

        In a *panic* those that failed are used again, but not those where nobody listens: that
        relieves nobody, because the request comes back at once.
        """
        if self.ejected_until is None:
            return True
        if now < self.ejected_until:
            return panic and not self.refused
        return self.outstanding == 0

    def is_ejected(self, now: Instant) -> bool:
        """Whether it is left alone at *now*."""
        return self.ejected_until is not None and now < self.ejected_until

    def warmth(self, now: Instant, slow_start: timedelta, least: float) -> float:
        """How much of its share it gets: from *least*, growing evenly to 1 over *slow_start*."""
        if self.since is None or not slow_start:
            return 1.0
        age = (now - self.since) / slow_start
        return min(1.0, max(least, age))

    def take(self, outcome: Outcome, now: Instant, ejection: Ejection) -> bool:
        """Take note of how a request ended; whether that changed if it is ejected."""
        self.outstanding -= 1
        if outcome is Outcome.ABANDONED:
            return False
        if outcome is Outcome.ANSWERED:
            return self._answered(now)
        self.failures += 1
        on_trial = self.ejected_until is not None and now >= self.ejected_until
        due = outcome is Outcome.REFUSED or on_trial or self.failures >= ejection.failures
        if not due or (self.is_ejected(now) and self.refused >= (outcome is Outcome.REFUSED)):
            return False
        self.refused = outcome is Outcome.REFUSED
        self.ejected_until = now + ejection.length(self.ejections)
        self.ejections += 1
        self.ejected_total += 1
        return True

    def _answered(self, now: Instant) -> bool:
        self.failures = 0
        if self.ejected_until is None or (self.is_ejected(now) and self.refused):
            # An answer that was under way when the port closed tells of the past.
            return False
        self.ejected_until = None
        self.ejections = 0
        self.refused = False
        return True


@dataclass(frozen=True, slots=True)
class Ejection:
    """After how many *failures* in a row an instance is left alone, and for how long.

    For *first*, doubled each time that it fails again right after, up to *most*.
    """

    failures: int
    first: timedelta
    most: timedelta

    def length(self, before: int) -> timedelta:
        """How long, after *before* ejections in a row."""
        doublings = min(before, _DOUBLINGS_MAX)
        return min(self.most, self.first * (1 << doublings))
