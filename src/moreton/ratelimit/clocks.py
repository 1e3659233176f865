"""The time of limits: two clocks in nanoseconds, and waiting."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from moreton.resilience.timing import SYSTEM as SYSTEM_TIMING


class LimitClock(Protocol):
    """What a limiter asks for the time and waits by; both times are told from any thread."""

    @property
    def monotonic(self) -> Callable[[], int]:
        """Nanoseconds on a clock that never goes back, the same for all processes."""
        ...

    @property
    def calendar(self) -> Callable[[], int]:
        """Nanoseconds since 1970, UTC."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block the thread."""
        ...

    async def sleep_async(self, seconds: float) -> None:
        """Suspend the task."""
        ...


class SystemLimitClock:
    """The clocks of this machine."""

    monotonic = staticmethod(time.monotonic_ns)
    calendar = staticmethod(time.time_ns)
    # `moreton.testing.no_backoff` turns waiting off there.
    sleep = staticmethod(SYSTEM_TIMING.sleep)
    sleep_async = staticmethod(SYSTEM_TIMING.sleep_async)


SYSTEM = SystemLimitClock()
