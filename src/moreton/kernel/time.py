"""Moments on a monotonic time line, and the clocks that tell them.

Everything that decides by time is handed an `Instant`; nothing but a host asks a clock.
That is what lets one simulator run every machine in virtual time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

NANOSECONDS_PER_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True, order=True)
class Instant:
    """A moment: *nanos* nanoseconds after an arbitrary origin, the same for one clock's life.

    Two instants of one clock may be compared and subtracted; instants of two clocks may not.
    It never goes back and does not follow the wall clock when that is set.
    """

    nanos: int

    def __add__(self, delay: timedelta) -> Instant:
        return Instant(self.nanos + nanos_of(delay))

    def __sub__(self, other: Instant) -> timedelta:
        return timedelta(microseconds=(self.nanos - other.nanos) / 1000)


def nanos_of(delay: timedelta) -> int:
    """The length of *delay* in nanoseconds, exact."""
    return (delay.days * 86_400 + delay.seconds) * NANOSECONDS_PER_SECOND + (
        delay.microseconds * 1000
    )


class Clock(Protocol):
    """Tells the time. A host holds one; a core never does."""

    def now(self) -> Instant:
        """The present moment; never earlier than the one told before."""
        ...

    def wall(self) -> datetime:
        """The calendar time in UTC, for people and protocols only: it may jump."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> Instant:
        """The present moment of `time.monotonic_ns`."""
        return Instant(time.monotonic_ns())

    def wall(self) -> datetime:
        """The machine's calendar time in UTC."""
        return datetime.now(UTC)
