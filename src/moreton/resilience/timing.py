"""The time of the layers: a monotonic clock in seconds, and waiting on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timing(Protocol):
    """What a layer asks for the time and waits by; give `moreton.testing.VirtualTiming` in tests.

    *now* may be called from any thread.
    """

    @property
    def now(self) -> Callable[[], float]:
        """Seconds on a clock that never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block the thread."""
        ...

    async def sleep_async(self, seconds: float) -> None:
        """Suspend the task."""
        ...


class SystemTiming:
    """The machine's monotonic clock."""

    now = staticmethod(time.monotonic)
    waits = True  # `moreton.testing.no_backoff` turns this off

    def sleep(self, seconds: float) -> None:
        """Block the thread, unless waiting is turned off."""
        if self.waits and seconds > 0:
            time.sleep(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Suspend the task, unless waiting is turned off."""
        if self.waits:
            await asyncio.sleep(seconds)


SYSTEM = SystemTiming()
