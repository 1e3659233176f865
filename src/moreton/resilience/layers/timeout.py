"""Time limits: of one attempt, and of a whole call with its retries.

A coroutine is cancelled when its time is over. A plain function cannot be stopped from outside:
its limit is a deadline that the clients of this package, waits and queues keep, and that the next
service is told.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import Token
from datetime import timedelta
from typing import Any

from moreton.kernel.quantities import format_duration
from moreton.resilience.context import deadline_var
from moreton.resilience.errors import DeadlineExceeded
from moreton.resilience.events import TimedOut, emit, listeners
from moreton.resilience.layers.layer import Gate
from moreton.resilience.timing import SYSTEM, Timing


class _Limit:
    """One task's limit: *task* is None once the call has ended."""

    __slots__ = ("deadline", "fired", "task", "token")

    def __init__(
        self, deadline: float, task: asyncio.Task[Any] | None, token: Token[float]
    ) -> None:
        self.deadline = deadline
        self.task = task
        self.token = token
        self.fired = False


class _Timers:
    """The limits of one length on one loop: they end in the order in which they began.

    One timer of the loop, for the first of them, in place of one a call.
    """

    __slots__ = ("_armed", "_limits", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._limits: deque[_Limit] = deque()
        self._armed = False

    def add(self, limit: _Limit) -> None:
        limits = self._limits
        while limits and limits[0].task is None:
            limits.popleft()
        limits.append(limit)
        if not self._armed:
            self._arm(limits[0].deadline)

    def _arm(self, deadline: float) -> None:
        self._armed = True
        self.loop.call_at(deadline, self._fire)

    def _fire(self) -> None:
        self._armed = False
        now = self.loop.time()
        limits = self._limits
        while limits:
            first = limits[0]
            if first.task is not None:
                if first.deadline > now:
                    self._arm(first.deadline)
                    return
                first.fired = True
                first.task.cancel()
            limits.popleft()


class Timeout(Gate):
    """One attempt ends within *limit*, or earlier when the deadline of the call comes first.

    Raises `DeadlineExceeded`, which is a `TimeoutError`. Whether the call took effect is unknown.
    """

    total = False  # limits each attempt

    def __init__(self, limit: timedelta, *, name: str = "timeout", timing: Timing = SYSTEM) -> None:
        if limit <= timedelta(0):
            raise ValueError(
                f"limit is {limit.total_seconds():g} s: every call would fail; give a duration "
                "above 0"
            )
        self.limit = limit
        self.name = name
        self._seconds = limit.total_seconds()
        self._timing = timing
        self._timers: _Timers | None = None

    def enter(self) -> Token[float]:
        """Set the deadline; raises `DeadlineExceeded` when the call's own has passed already."""
        now = self._timing.now()
        outer = deadline_var.get()
        if outer <= now:
            self._raise(None)
        return deadline_var.set(min(outer, now + self._seconds))

    async def enter_async(self) -> _Limit:
        """Set the deadline, and a timer that cancels this task."""
        now = self._timing.now()
        outer = deadline_var.get()
        if outer <= now:
            self._raise(None)
        deadline = now + self._seconds
        timers = self._timers
        task = asyncio.current_task()
        assert task is not None  # a coroutine runs in a task
        loop = task.get_loop()
        # The loop's clock may have another origin than ours.
        offset = loop.time() - now
        if outer < deadline:  # earlier than the others in the queue
            limit = _Limit(outer + offset, task, deadline_var.set(outer))
            loop.call_at(limit.deadline, _expire, limit)
            return limit
        if timers is None or timers.loop is not loop:
            timers = self._timers = _Timers(loop)
        limit = _Limit(deadline + offset, task, deadline_var.set(deadline))
        timers.add(limit)
        return limit

    def leave(self, entered: Token[float] | _Limit, error: BaseException | None) -> None:
        """Take the limit away; a cancellation that it caused becomes `DeadlineExceeded`."""
        if not isinstance(entered, _Limit):
            deadline_var.reset(entered)
            return
        deadline_var.reset(entered.token)
        task, entered.task = entered.task, None
        if not entered.fired:
            return
        assert task is not None
        if task.uncancel() == 0 and isinstance(error, asyncio.CancelledError):
            self._raise(error)

    def describe(self) -> str:
        """The limit, and whose it is."""
        return f"each attempt ends within {format_duration(self.limit)}"

    def _raise(self, error: BaseException | None) -> None:
        if listeners:
            emit(TimedOut(self.name, self._seconds))
        raise DeadlineExceeded(
            f'"{self.name}" gave up on a call after {format_duration(self.limit)} or at the '
            "caller's deadline: whether it took effect is unknown; raise the limit if the "
            "destination needs longer"
        ) from error


class TotalTimeout(Timeout):
    """A whole call, with its retries and their waits, ends within *limit*."""

    total = True

    def __init__(
        self, limit: timedelta, *, name: str = "total timeout", timing: Timing = SYSTEM
    ) -> None:
        super().__init__(limit, name=name, timing=timing)

    def describe(self) -> str:
        """The limit, and whose it is."""
        return f"the call with all its retries ends within {format_duration(self.limit)}"


def _expire(limit: _Limit) -> None:
    if limit.task is not None:
        limit.fired = True
        limit.task.cancel()
