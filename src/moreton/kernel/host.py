"""Runs one machine for real: events in, effects performed in order, one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from moreton.kernel.errors import MoretonError, RetryAdvice
from moreton.kernel.machine import Machine
from moreton.kernel.time import Clock, SystemClock

EventT = TypeVar("EventT")
EffectT = TypeVar("EffectT")
INBOX_MAX = 1024


class InboxFull(MoretonError):
    """A machine was told more than it could take in; the event was not accepted."""

    code = "inbox-full"
    retry = RetryAdvice.AFTER


@dataclass(frozen=True, slots=True)
class HostStatistics:
    """What a host did so far."""

    events: int
    wakes: int
    effects: int
    waiting: int


class MachineHost(Generic[EventT, EffectT]):
    """Drives *machine* on the running asyncio loop.

    *perform* is awaited for each effect before the next, so that what must be on disk before it
    is sent is given as two effects in that order. An event that arrives meanwhile waits. A fault
    of *perform* ends `run` with that fault: a half-performed step must not be passed over.
    """

    def __init__(
        self,
        machine: Machine[EventT, EffectT],
        perform: Callable[[EffectT], Awaitable[None]],
        *,
        clock: Clock | None = None,
        inbox_max: int = INBOX_MAX,
    ) -> None:
        self._machine = machine
        self._perform = perform
        self._clock = clock or SystemClock()
        self._inbox: asyncio.Queue[EventT] = asyncio.Queue(inbox_max)
        self._events = self._wakes = self._effects = 0

    def tell_nowait(self, event: EventT) -> None:
        """Hand *event* over; raises `InboxFull` when too many wait already."""
        try:
            self._inbox.put_nowait(event)
        except asyncio.QueueFull as error:
            raise InboxFull(
                f"{self._inbox.maxsize} events wait already: this one was not accepted; "
                "try again when the machine has caught up"
            ) from error

    async def tell(self, event: EventT) -> None:
        """Hand *event* over, waiting while too many wait already."""
        await self._inbox.put(event)

    async def run(self) -> None:
        """Feed the machine until cancelled; a step under way is finished first or not begun."""
        while True:
            event = await self._next_event()
            now = self._clock.now()
            if event is None:
                self._wakes += 1
                effects = self._machine.wake(now)
            else:
                self._events += 1
                effects = self._machine.handle(event[0], now)
            for effect in effects:
                await self._perform(effect)
                self._effects += 1

    def statistics(self) -> HostStatistics:
        """What was done so far, and how many events wait."""
        return HostStatistics(self._events, self._wakes, self._effects, self._inbox.qsize())

    async def _next_event(self) -> tuple[EventT] | None:
        """The next event, or `None` when the machine's deadline came first."""
        deadline = self._machine.deadline()
        if deadline is None:
            return (await self._inbox.get(),)
        seconds = (deadline - self._clock.now()).total_seconds()
        if seconds <= 0:
            return None
        try:
            # Not `wait_for`, which before Python 3.12 may swallow a cancellation.
            async with asyncio.timeout(seconds):
                return (await self._inbox.get(),)
        except TimeoutError:
            return None
