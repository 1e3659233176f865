"""What the clients share: waiting for a turn, and learning what a server says of its limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TypeVar

from moreton.kernel.arguments import check_duration, check_kind
from moreton.kernel.time import nanos_of
from moreton.ratelimit.core.decision import Decision
from moreton.ratelimit.core.fields import read_fields
from moreton.ratelimit.core.gcra import Gcra
from moreton.ratelimit.core.limit import duration_of, seconds_of
from moreton.ratelimit.errors import HeldBack
from moreton.ratelimit.limiter import Keys, Limiter
from moreton.resilience.core.retry_after import retry_after_of, wall_of

_WAIT = timedelta(seconds=30)
# Longer than that no server is believed: a wrong date would stop all calls for good.
PAUSE_MAX = timedelta(minutes=5)
DESTINATIONS_MAX = 1000
_REFUSALS = frozenset({429, 503})
LockT = TypeVar("LockT")


class Pace:
    """Calls wait for their turn with *limiter*, up to *wait*, and raise `RateLimited` beyond it.

    A destination (`scheme://host:port`, or what *key* makes of it) is a key. After an answer 429 or
    503 with `Retry-After`, or one that says that nothing is left, nobody asks before the time that
    it says: in this process, and where *limiter* has one limit that is a `Gcra` or `LeakyBucket`
    also wherever that is shared. A limit on work under way (`AnsweredWindow`, `Concurrency`) is
    freed with the answer; for that calls of one process wait one after the other.
    """

    def __init__(
        self,
        limiter: Limiter,
        *,
        wait: timedelta = _WAIT,
        key: Callable[[str], Keys] | None = None,
    ) -> None:
        check_kind("limiter", limiter, Limiter, "a limiter, as LocalLimiter(Gcra('50/s', 1))")
        check_duration("wait", wait, zero=True)
        self._limiter = limiter
        self._held = any(limit.held for limit in limiter.limits)
        self._wait = nanos_of(wait)
        self._key = key or (lambda destination: destination)
        self._paused: dict[str, int] = {}
        self._lock = Lock()
        self._turns: dict[str, Lock] = {}
        self._turns_async: dict[str, asyncio.Lock] = {}

    def enter(self, destination: str) -> Decision | None:
        """Wait until *destination* may be asked; what comes back is for `leave`."""
        clock, until = self._limiter.clock, self._until()
        while True:
            while pause := self._pause(destination, until):
                clock.sleep(seconds_of(pause))
            with _bounded(self._turns, destination, Lock) if self._held else nullcontext():
                wait = duration_of(max(0, until - clock.monotonic()))
                decision = self._limiter.acquire(self._key(destination), wait=wait)
            # A turn that falls into a pause is lost: after it all line up anew.
            if not self._pause(destination, until):
                return decision if self._held else None
            self.leave(decision)

    async def enter_async(self, destination: str) -> Decision | None:
        """As `enter`."""
        clock, until = self._limiter.clock, self._until()
        while True:
            while pause := self._pause(destination, until):
                await clock.sleep_async(seconds_of(pause))
            turns = _bounded(self._turns_async, destination, asyncio.Lock)
            async with turns if self._held else nullcontext():
                wait = duration_of(max(0, until - clock.monotonic()))
                decision = await self._limiter.acquire_async(self._key(destination), wait=wait)
            if not self._pause(destination, until):
                return decision if self._held else None
            await self.leave_async(decision)

    def leave(self, held: Decision | None) -> None:
        """The call was answered, or failed."""
        if held is not None:
            self._limiter.release(held)

    async def leave_async(self, held: Decision | None) -> None:
        """As `leave`."""
        if held is not None:
            await self._limiter.release_async(held)

    def learn(self, destination: str, status: int, headers: Mapping[str, str]) -> None:
        """*destination* answered with *status* and *headers* (which ignore case)."""
        pause = self._pause_of(status, headers)
        if pause and self._begin_pause(destination, pause):
            keys = self._key(destination)
            cost = self._cost_of(self._limiter.decide(keys, 0), pause)
            if cost > 0:
                self._limiter.charge(keys, cost)

    async def learn_async(self, destination: str, status: int, headers: Mapping[str, str]) -> None:
        """As `learn`."""
        pause = self._pause_of(status, headers)
        if pause and self._begin_pause(destination, pause):
            keys = self._key(destination)
            cost = self._cost_of(await self._limiter.decide_async(keys, 0), pause)
            if cost > 0:
                await self._limiter.charge_async(keys, cost)

    def _until(self) -> int:
        return self._limiter.clock.monotonic() + self._wait

    def _pause(self, destination: str, until: int) -> int:
        """How long *destination* is to be left alone yet; raises `HeldBack` if beyond *until*."""
        now = self._limiter.clock.monotonic()
        pause = max(0, self._paused.get(destination, 0) - now)
        if now + pause > until and pause:
            raise HeldBack(destination, seconds_of(pause))
        return pause

    def _pause_of(self, status: int, headers: Mapping[str, str]) -> int:
        """For how long an answer asks to be left alone, in nanoseconds."""
        now = wall_of(headers, datetime.now(UTC))
        asked = timedelta(0)
        if status in _REFUSALS:
            asked = retry_after_of(headers, None, now) or asked
        told = read_fields(headers, now.timestamp())
        if told is not None and not told.left:
            asked = max(asked, timedelta(seconds=min(told.seconds, PAUSE_MAX.total_seconds())))
        return nanos_of(min(asked, PAUSE_MAX))

    def _begin_pause(self, destination: str, pause: int) -> bool:
        """Pause *destination*, unless it is for longer already."""
        until = self._limiter.clock.monotonic() + pause
        with self._lock:
            if until <= self._paused.get(destination, 0):
                return False
            if destination not in self._paused and len(self._paused) >= DESTINATIONS_MAX:
                del self._paused[next(iter(self._paused))]
            self._paused[destination] = until
            return True

    def _cost_of(self, decision: Decision, pause: int) -> int:
        """What to charge so that the next turn comes after *pause* for all who share the limit."""
        first, *more = self._limiter.limits
        if more or not isinstance(first, Gcra) or not decision.standings:
            return 0
        owed = decision.standings[0].full_in_nanos
        return -(-(pause + first.tolerance - first.interval - owed) // first.interval)


def _bounded(known: dict[str, LockT], destination: str, make: Callable[[], LockT]) -> LockT:
    """The lock of *destination*; beyond so many all begin anew, and a few go side by side."""
    found = known.get(destination)
    if found is None:
        if len(known) >= DESTINATIONS_MAX:
            known.clear()
        found = known.setdefault(destination, make())
    return found
