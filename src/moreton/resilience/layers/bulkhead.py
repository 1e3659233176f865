"""A bulkhead: at most so many calls at a time, a bounded number waiting, none for ever."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from moreton.kernel.arguments import check_duration, check_whole
from moreton.kernel.quantities import format_duration
from moreton.resilience.context import deadline_var
from moreton.resilience.errors import BulkheadFull
from moreton.resilience.events import CallRefused, emit, listeners
from moreton.resilience.layers.layer import AsyncCall, Call, Gate
from moreton.resilience.timing import SYSTEM, Timing


class _Waiter(Protocol):
    granted: bool

    def wake(self) -> bool: ...


class _ThreadWaiter:
    __slots__ = ("event", "granted")

    def __init__(self) -> None:
        self.event = threading.Event()
        self.granted = False

    def wake(self) -> bool:
        self.event.set()
        return True


class _TaskWaiter:
    __slots__ = ("future", "granted", "loop")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()
        self.granted = False

    def wake(self) -> bool:
        # The slot may be given by a thread, or by a task of another loop.
        try:
            self.loop.call_soon_threadsafe(self._settle)
        except RuntimeError:
            return False  # its loop was closed while it waited: it will never run again
        return True

    def _settle(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


@dataclass(frozen=True, slots=True)
class BulkheadStatistics:
    """A bulkhead at one moment."""

    under_way: int
    waiting: int
    refused_total: int


class Bulkhead(Gate):
    """At most *limit* calls at a time; up to *queue* more wait, each at most *queue_timeout*.

    First come, first served; threads and tasks of any loop may share it. A wait never outlasts the
    deadline of the call.
    """

    def __init__(
        self,
        limit: int,
        *,
        queue: int = 0,
        queue_timeout: timedelta = timedelta(seconds=1),
        name: str = "bulkhead",
        timing: Timing = SYSTEM,
    ) -> None:
        check_whole("limit", limit, 1, why="no call would ever be made")
        check_whole("queue", queue, 0)
        check_duration("queue_timeout", queue_timeout, "nobody could wait: that is a queue of 0")
        self.limit = limit
        self.queue = queue
        self.queue_timeout = queue_timeout
        self.name = name
        self._timing = timing
        # Taken and given back without a lock: each is one atomic step of a deque. The lock is for
        # those who wait.
        self._slots: deque[None] = deque([None] * limit)
        self._waiting: deque[_Waiter] = deque()
        self._lock = threading.Lock()
        self._refused = 0

    def enter(self) -> None:
        """Take a slot, blocking the thread while there is none; raises `BulkheadFull`."""
        if self._took():
            return
        waiter = _ThreadWaiter()
        self._queue(waiter)
        try:
            waiter.event.wait(self._patience())
        except BaseException:  # of a signal handler, as Ctrl-C or a time limit of a worker
            self._forget(waiter)
            raise
        self._settle(waiter)

    async def enter_async(self) -> None:
        """Take a slot, suspending the task while there is none; raises `BulkheadFull`."""
        if self._took():
            return
        waiter = _TaskWaiter()
        self._queue(waiter)
        try:
            await asyncio.wait((waiter.future,), timeout=self._patience())
        except asyncio.CancelledError:
            self._forget(waiter)
            raise
        self._settle(waiter)

    def leave(self, entered: Any, error: BaseException | None) -> None:  # noqa: ARG002 - a gate
        """Give the slot back, to who waits longest if there is one."""
        self._slots.append(None)
        if self._waiting:
            self._hand_on()

    def wrap(self, call: Call) -> Call:
        """*call* in a slot; shorter than `Gate.wrap`, as it is in every call's way."""
        take, give, waiting = self._slots.pop, self._slots.append, self._waiting

        def bounded(*args: Any, **kwargs: Any) -> Any:
            if waiting:
                self.enter()
            else:
                try:
                    take()
                except IndexError:
                    self.enter()
            try:
                return call(*args, **kwargs) if kwargs else call(*args)
            finally:
                give(None)
                if waiting:
                    self._hand_on()

        return bounded

    def wrap_async(self, call: AsyncCall) -> AsyncCall:
        """*call* in a slot; as `wrap`."""
        take, give, waiting = self._slots.pop, self._slots.append, self._waiting

        async def bounded(*args: Any, **kwargs: Any) -> Any:
            if waiting:
                await self.enter_async()
            else:
                try:
                    take()
                except IndexError:
                    await self.enter_async()
            try:
                return await (call(*args, **kwargs) if kwargs else call(*args))
            finally:
                give(None)
                if waiting:
                    self._hand_on()

        return bounded

    def statistics(self) -> BulkheadStatistics:
        """The state now."""
        return BulkheadStatistics(self.limit - len(self._slots), len(self._waiting), self._refused)

    def describe(self) -> str:
        """How many, and who waits."""
        if not self.queue:
            return f"at most {self.limit} calls at a time, others are refused"
        return (
            f"at most {self.limit} calls at a time, {self.queue} wait up to "
            f"{format_duration(self.queue_timeout)}, others are refused"
        )

    def _took(self) -> bool:
        """Whether there was a free slot, which is the caller's now; nobody overtakes who waits."""
        if self._waiting:
            return False
        try:
            self._slots.pop()
        except IndexError:
            return False
        return True

    def _queue(self, waiter: _Waiter) -> None:
        with self._lock:
            if len(self._waiting) < self.queue:
                self._waiting.append(waiter)
                queued = True
            else:
                queued = False
        if not queued:
            self._refuse("the queue is full")
        # A slot may have come back just before the waiter was in the queue.
        self._hand_on()

    def _hand_on(self) -> None:
        """Give free slots to those who wait longest."""
        while True:
            with self._lock:
                if not self._waiting:
                    return
                try:
                    self._slots.pop()
                except IndexError:
                    return
                waiter = self._waiting.popleft()
                waiter.granted = True
            if not waiter.wake():
                self._slots.append(None)

    def _patience(self) -> float:
        left = deadline_var.get() - self._timing.now()
        return max(0.0, min(self.queue_timeout.total_seconds(), left))

    def _gave_up(self, waiter: _Waiter) -> bool:
        """Whether *waiter* leaves the queue without a slot."""
        with self._lock:
            if waiter.granted:
                return False
            self._waiting.remove(waiter)
            return True

    def _forget(self, waiter: _Waiter) -> None:
        """*waiter* will not use the slot that it may have been given meanwhile."""
        if not self._gave_up(waiter):
            self.leave(None, None)

    def _settle(self, waiter: _Waiter) -> None:
        if not waiter.granted and self._gave_up(waiter):
            self._refuse(
                f"none was free within {format_duration(self.queue_timeout)} or the deadline"
            )

    def _refuse(self, why: str) -> None:
        self._refused += 1
        if listeners:
            emit(CallRefused(self.name, BulkheadFull.code))
        raise BulkheadFull(
            f'bulkhead "{self.name}": all {self.limit} slots are taken and {why}: the call was '
            "not made; try again later, or raise its limit if the destination can take more"
        )
