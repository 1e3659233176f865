"""Waiting that takes no time: for tests of code that uses `moreton.resilience`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta

from moreton.kernel.time import NANOSECONDS_PER_SECOND
from moreton.resilience.timing import SYSTEM
from moreton.testing.clock import VirtualClock


class VirtualTiming:
    """The time of a policy's layers on *clock*, which a wait moves on: nobody really waits.

    Give the same one to every layer of a policy. *waits* holds all waits so far, in seconds, in
    their order. Time passes only in these waits and by `clock.advance`. What nobody can wait for in
    virtual time goes by the machine's clock: the end of a coroutine's `Timeout`, the queue of a
    `Bulkhead`, `resilience.context.remaining`.
    """

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self.clock = clock or VirtualClock()
        self.waits: list[float] = []

    @property
    def now(self) -> Callable[[], float]:
        """Seconds since the clock began."""
        return self._seconds

    def sleep(self, seconds: float) -> None:
        """Move the clock on by *seconds*, at once."""
        self.waits.append(seconds)
        self.clock.advance(timedelta(seconds=max(0.0, seconds)))

    async def sleep_async(self, seconds: float) -> None:
        """Move the clock on by *seconds*, at once, and give other tasks a turn."""
        self.sleep(seconds)
        await asyncio.sleep(0)

    def _seconds(self) -> float:
        return self.clock.now().nanos / NANOSECONDS_PER_SECOND


@contextlib.contextmanager
def no_backoff() -> Iterator[None]:
    """Within, retries follow at once: no policy on the system's time waits between attempts.

    All else stays: how many attempts there are, budgets, deadlines, and that a wait which does not
    fit into the deadline ends the call. For one test at a time: it holds for the whole process.
    """
    before = SYSTEM.waits
    SYSTEM.waits = False
    try:
        yield
    finally:
        SYSTEM.waits = before
