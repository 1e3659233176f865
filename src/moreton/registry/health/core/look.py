"""One check of one instance over time: when to look, and what the answers add up to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from moreton.kernel.rng import Rng
from moreton.kernel.time import Instant
from moreton.registry.core.checks import Check
from moreton.registry.core.standing import CheckStatus

# Intervals are shorter by up to this share, so that checks which began together drift apart;
# never longer, so that what an interval promises holds.
JITTER = 0.1
# While the answers do not agree with what is told yet, it looks this much more often.
DOUBT = 2
# Between the end of a look and the next one there is this share of the interval at least.
REST = 0.1
# A probe that seems to have taken this much longer than it may was not late: this process slept.
STALL = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Looked:
    """A look ended with *status*, having seen *output*; it took *took*."""

    status: CheckStatus
    output: str
    took: timedelta


@dataclass(frozen=True, slots=True)
class StartLook:
    """Effect: look now; answer with `Looked`."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Effect: from now on the check has this status, because of that output."""

    status: CheckStatus
    output: str


LookEffect: TypeAlias = StartLook | Tell


class Look:
    """Looks every interval, one look at a time, and tells when the status is another.

    *known* is the status as it was told before, by a leader of before: then the first look is at
    a random moment of the interval, so that a thousand checks that are taken over are spread over
    it. What is new is looked at at once, since nothing is sent to it before.
    """

    def __init__(self, check: Check, known: CheckStatus | None, *, rng: Rng, now: Instant) -> None:
        self.status = known
        self._check = check
        self._rng = rng
        self._successes = self._failures = 0
        self._started: Instant | None = None
        self._due: Instant | None = now
        self._is_first = known is None
        if known is not None:
            self._due = now + check.interval * rng.random()

    def handle(self, event: Looked, now: Instant) -> Sequence[LookEffect]:
        """Count an answer."""
        started, self._started = self._started, None
        assert started is not None, "an answer follows a look"
        told: tuple[LookEffect, ...] = ()
        if event.took <= self._check.timeout + STALL:
            told = self._count(event)
        self._due = max(started + self._pause(), now + self._check.interval * REST)
        return told

    def wake(self, now: Instant) -> Sequence[LookEffect]:
        """Look when it is time to."""
        if self._due is None or now < self._due:
            return ()
        self._due = None
        self._started = now
        return (StartLook(),)

    def deadline(self) -> Instant | None:
        """When to look next; `None` while a look is under way."""
        return self._due

    def _count(self, event: Looked) -> tuple[LookEffect, ...]:
        if event.status is CheckStatus.CRITICAL:
            self._failures, self._successes = self._failures + 1, 0
            is_sure = self._failures >= self._check.failures
        else:
            self._failures, self._successes = 0, self._successes + 1
            was_fine = self.status in {CheckStatus.PASSING, CheckStatus.WARNING}
            is_sure = was_fine or self._successes >= self._check.successes
        if not is_sure or event.status is self.status:
            return ()
        self.status = event.status
        return (Tell(event.status, event.output),)

    def _pause(self) -> timedelta:
        interval = self._check.interval
        if self._is_first:
            # What was registered together is looked at together once, and not again.
            self._is_first = False
            return interval * self._rng.uniform(REST, 1) / self._haste()
        return interval * self._rng.uniform(1 - JITTER, 1) / self._haste()

    def _haste(self) -> int:
        is_failing = self._failures > 0 and self.status is not CheckStatus.CRITICAL
        is_recovering = self._successes > 0 and self.status in {None, CheckStatus.CRITICAL}
        return DOUBT if is_failing or is_recovering else 1
