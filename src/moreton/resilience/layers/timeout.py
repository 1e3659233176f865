"""Time limits: of one attempt, and of a whole call with its retries.

A coroutine is cancelled when its time is over. A plain function cannot be stopped from outside:
its limit is a deadline that the clients of this package, waits and queues keep, and that the next
service is told.
"""

from __future__ import annotations

import asyncio
from asyncio import current_task, get_running_loop
from collections import deque
from collections.abc import AsyncGenerator, Generator
from contextvars import Token
from datetime import timedelta
from threading import get_ident
from typing import Any, NoReturn, cast

from moreton.kernel.arguments import check_duration
from moreton.kernel.quantities import format_duration
from moreton.resilience.context import deadline_var
from moreton.resilience.errors import DeadlineExceeded
from moreton.resilience.events import TimedOut, emit, listeners
from moreton.resilience.layers.layer import (
    AsyncCall,
    AsyncGeneratorCall,
    Call,
    Gate,
    GeneratorCall,
)
from moreton.resilience.layers.resuming import Relay
from moreton.resilience.timing import SYSTEM, Timing

# One call's limit: [deadline on the loop's clock, task or None once it ended, token, whether its
# time was over, how often the task had been cancelled before]. A list, as it is made for every
# call and costs a fifth of an object.
_Limit = list[Any]
_DEADLINE, _TASK, _TOKEN, _FIRED, _CANCELS = range(5)


class _Timers:
    """The limits of one length on one loop: they end in the order in which they began.

    One timer of the loop, for the first of them, in place of one a call.
    """

    __slots__ = ("armed", "limits", "loop", "offset", "thread")

    def __init__(self, loop: asyncio.AbstractEventLoop, offset: float) -> None:
        self.loop = loop
        self.thread = get_ident()
        self.offset = offset  # the loop's clock may have another origin than ours
        self.limits: deque[_Limit] = deque()
        self.armed = False

    def arm(self, deadline: float) -> None:
        self.armed = True
        self.loop.call_at(deadline, self._fire)

    def _fire(self) -> None:
        self.armed = False
        now = self.loop.time()
        limits = self.limits
        while limits:
            first = limits[0]
            if first[_TASK] is not None:
                if first[_DEADLINE] > now:
                    self.arm(first[_DEADLINE])
                    return
                first[_FIRED] = True
                first[_TASK].cancel()
            limits.popleft()


class Timeout(Gate):
    """One attempt ends within *limit*, or earlier when the deadline of the call comes first.

    Raises `DeadlineExceeded`, which is a `TimeoutError`. Whether the call took effect is unknown.
    """

    total = False  # limits each attempt

    def __init__(self, limit: timedelta, *, name: str = "timeout", timing: Timing = SYSTEM) -> None:
        check_duration("limit", limit, "every call would fail")
        self.limit = limit
        self.name = name
        self._seconds = limit.total_seconds()
        self._now = timing.now
        self._timers: _Timers | None = None

    def enter(self) -> Token[float]:
        """Set the deadline; raises `DeadlineExceeded` when the call's own has passed already."""
        outer, own = deadline_var.get(), self._now() + self._seconds
        if outer <= own:
            self._check(outer)
        return deadline_var.set(min(outer, own))

    async def enter_async(self) -> _Limit:
        """Set the deadline, and a timer that cancels this task."""
        return self._begin()

    def _begin(self) -> _Limit:
        now = self._now()
        deadline = now + self._seconds
        outer = deadline_var.get()
        timers = self._timers
        # A thread runs one loop: the task that this one runs is ours. (To ask for the running loop
        # costs a system call on Python 3.11.)
        task = None
        if timers is not None and timers.thread == get_ident():
            task = current_task(timers.loop)
        if timers is None or task is None:
            loop = get_running_loop()
            timers = self._timers = _Timers(loop, loop.time() - now)
            task = cast("asyncio.Task[Any]", current_task(loop))
        cancels = task.cancelling()  # a cancelled task that cleans up
        if outer < deadline:  # earlier than the others in the queue
            self._check(outer)
            limit: _Limit = [outer + timers.offset, task, deadline_var.set(outer), False, cancels]
            timers.loop.call_at(outer + timers.offset, _expire, limit)
            return limit
        limit = [deadline + timers.offset, task, deadline_var.set(deadline), False, cancels]
        limits = timers.limits
        while limits and limits[0][_TASK] is None:
            limits.popleft()
        limits.append(limit)
        if not timers.armed:
            timers.arm(deadline + timers.offset)
        return limit

    def leave(self, entered: Token[float] | _Limit, error: BaseException | None) -> None:
        """Take the limit away; a cancellation that it caused becomes `DeadlineExceeded`."""
        if not isinstance(entered, list):
            deadline_var.reset(entered)
            return
        deadline_var.reset(entered[_TOKEN])
        task, entered[_TASK] = entered[_TASK], None
        if not entered[_FIRED]:
            return
        if task.uncancel() <= entered[_CANCELS] and isinstance(error, asyncio.CancelledError):
            self._raise(error)

    def wrap(self, call: Call) -> Call:
        """*call* within the limit; shorter than `Gate.wrap`, as it is in every call's way."""
        now, seconds = self._now, self._seconds
        outer, put, back = deadline_var.get, deadline_var.set, deadline_var.reset

        def limited(*args: Any, **kwargs: Any) -> Any:
            before, own = outer(), now() + seconds
            if before <= own:
                self._check(before)
                return call(*args, **kwargs)
            token = put(own)
            try:
                return call(*args, **kwargs) if kwargs else call(*args)
            finally:
                back(token)

        return limited

    def wrap_async(self, call: AsyncCall) -> AsyncCall:
        """*call* within the limit; as `wrap`."""
        enter, leave, back = self._begin, self.leave, deadline_var.reset

        async def limited(*args: Any, **kwargs: Any) -> Any:
            limit = enter()
            try:
                result = await (call(*args, **kwargs) if kwargs else call(*args))
            except BaseException as error:
                leave(limit, error)
                raise
            if limit[_FIRED]:
                leave(limit, None)
            else:
                limit[_TASK] = None
                back(limit[_TOKEN])
            return result

        return limited

    def wrap_generator(self, call: GeneratorCall) -> GeneratorCall:
        """*call*, its items together within the limit; its reader does not get its deadline."""

        def limited(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            end = self._now() + self._seconds
            items = call(*args, **kwargs)
            step, value = items.send, None
            try:
                while True:
                    token = deadline_var.set(self._until(end))
                    try:
                        item = step(value)
                    except StopIteration as stop:
                        return stop.value
                    finally:
                        deadline_var.reset(token)
                    try:
                        step, value = items.send, (yield item)
                    except GeneratorExit:
                        raise
                    except BaseException as error:  # noqa: BLE001 - for who is within
                        step, value = items.throw, error
            finally:
                items.close()

        return limited

    def wrap_async_generator(self, call: AsyncGeneratorCall) -> AsyncGeneratorCall:
        """As `wrap_generator`; who reads is not cancelled, but what it waits for next."""

        async def limited(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            end = self._now() + self._seconds
            relay = Relay(call(*args, **kwargs))
            try:
                while await self._step(relay, end):
                    try:
                        relay.sent = yield relay.item
                    except GeneratorExit:
                        raise
                    except BaseException as error:  # noqa: BLE001 - for who is within
                        relay.thrown = error
            finally:
                await relay.close()

        return limited

    async def _step(self, relay: Relay, end: float) -> bool:
        deadline = self._until(end)
        token = deadline_var.set(deadline)
        timer = asyncio.timeout(deadline - self._now())
        try:
            async with timer:
                return await relay.step()
        except TimeoutError as error:
            if timer.expired():
                self._raise(error)
            raise
        finally:
            deadline_var.reset(token)

    def _until(self, end: float) -> float:
        """The deadline of what ends at *end*; raises `DeadlineExceeded` when it has passed."""
        deadline = min(deadline_var.get(), end)
        self._check(deadline)
        return deadline

    def _check(self, deadline: float) -> None:
        if deadline <= self._now():
            self._raise(None)

    def describe(self) -> str:
        """The limit, and whose it is."""
        return f"each attempt ends within {format_duration(self.limit)}"

    def _raise(self, error: BaseException | None) -> NoReturn:
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

    def wrap_async_around_timeout(self, call: AsyncCall) -> AsyncCall:
        """As `wrap_async`, when a `Timeout` inside cancels the attempts.

        That one keeps the deadline which is set here, and so do waits and queues in between: a
        second timer would do nothing more.
        """
        now, seconds = self._now, self._seconds
        outer, put, back = deadline_var.get, deadline_var.set, deadline_var.reset

        async def limited(*args: Any, **kwargs: Any) -> Any:
            before, own = outer(), now() + seconds
            if before <= own:
                self._check(before)
                return await call(*args, **kwargs)
            token = put(own)
            try:
                return await (call(*args, **kwargs) if kwargs else call(*args))
            finally:
                back(token)

        return limited

    def describe(self) -> str:
        """The limit, and whose it is."""
        return f"the call with all its retries ends within {format_duration(self.limit)}"


def _expire(limit: _Limit) -> None:
    if limit[_TASK] is not None:
        limit[_FIRED] = True
        limit[_TASK].cancel()
