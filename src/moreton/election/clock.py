"""A clock that goes on while the machine sleeps."""

from __future__ import annotations

import time

from moreton.kernel.time import Instant, SystemClock


class LeaseClock(SystemClock):
    """As `SystemClock`, but counts the time that the machine was suspended, where it tells.

    Linux's monotonic clock stands still meanwhile, and the leases of others do not: a laptop that
    wakes up would believe itself the leader. No clock helps a virtual machine that was frozen by
    its host; the fencing token does.
    """

    def now(self) -> Instant:
        """The present moment, suspension included."""
        return Instant(_now())


def _boottime() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


_now = _boottime if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic_ns
