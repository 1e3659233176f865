"""A clock that moves only when it is told to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from moreton.kernel.time import Instant

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualClock:
    """Begins at `Instant(0)` and 2026-01-01 UTC; `advance` moves both on.

    Give it wherever a `Clock` is taken, and a test of an hour takes no time.
    """

    def __init__(self) -> None:
        self._now = Instant(0)
        self._skew = timedelta(0)

    def now(self) -> Instant:
        """The present moment."""
        return self._now

    def wall(self) -> datetime:
        """The calendar time, which `jump` sets apart."""
        return _EPOCH + (self._now - Instant(0)) + self._skew

    def advance(self, length: timedelta) -> None:
        """Let *length* pass; raises `ValueError` when it is negative."""
        if length < timedelta(0):
            raise ValueError(f"{length} is negative: a monotonic clock never goes back; use jump")
        self._now += length

    def jump(self, length: timedelta) -> None:
        """Set the calendar time by *length*, forward or back, as an operator may."""
        self._skew += length
