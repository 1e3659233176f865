"""The time of a log: calendar time that does not jump while a process lives."""

from __future__ import annotations

import time

from moreton.kernel.time import Instant


class LogClock:
    """Set once, by *wall_nanos*, then moved on by the monotonic clock.

    A calendar that is set while the process runs moves no wait: an hour stays an hour. Pauses over
    a restart follow the calendar.
    """

    __slots__ = ("_offset",)

    def __init__(self, wall_nanos: int | None = None) -> None:
        wall = time.time_ns() if wall_nanos is None else wall_nanos
        self._offset = wall - time.monotonic_ns()

    def now(self) -> Instant:
        """The present moment, as nanoseconds since 1970."""
        return Instant(self._offset + time.monotonic_ns())
