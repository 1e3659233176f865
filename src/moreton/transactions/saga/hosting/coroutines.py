"""Sagas with coroutines: one task drives one saga."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterable
from datetime import timedelta
from threading import Event as Flag
from typing import Any

from moreton.kernel.time import Instant
from moreton.resilience.context import deadline
from moreton.transactions.saga.clock import LogClock
from moreton.transactions.saga.core.events import Attempt, Effect, Event, Undo
from moreton.transactions.saga.core.plan import Act
from moreton.transactions.saga.errors import Fenced
from moreton.transactions.saga.hosting.committing import Committer
from moreton.transactions.saga.hosting.job import Job, Turn
from moreton.transactions.saga.hosting.threads import ENDS, called
from moreton.transactions.saga.hosting.waiting import HOLD, Waiting
from moreton.transactions.saga.hosting.watching import watched
from moreton.transactions.saga.ledgers.port import Advance

_NOTHING = timedelta(0)
# How often a wait looks whether the engine is being closed.
_LOOK_SECONDS = 0.1


class LoopDriver:
    """As `ThreadDriver`, on the running loop; plain functions run in threads beside it."""

    def __init__(
        self, committer: Committer, clock: LogClock, waiting: Waiting, *, closing: Flag
    ) -> None:
        self._committer, self._clock, self._waiting = committer, clock, waiting
        self._closing = closing

    async def drive(self, job: Job, turn: Turn | None = None) -> Turn | None:
        """As `ThreadDriver.drive`."""
        arrived: asyncio.Queue[Event | None] = asyncio.Queue()
        tasks: set[asyncio.Task[None]] = set()
        try:
            return await self._drive(job, turn, arrived, tasks)
        finally:
            for task in tasks:  # who has the saga next does their steps again
                task.cancel()

    async def _drive(
        self,
        job: Job,
        turn: Turn | None,
        arrived: asyncio.Queue[Event | None],
        tasks: set[asyncio.Task[None]],
    ) -> Turn | None:
        if turn is None:
            self._waiting.remember(job)
            event = await asyncio.to_thread(self._waiting.answered, job) if job.awaits else None
            now, machine = self._clock.now(), job.machine
            effects = machine.handle(event, now) if event else machine.wake(now)
            turn = await self._durable(job, effects)
        while turn.rest is None:
            job.awaits.update({wait.step: wait for wait in turn.awaits})
            if self._closing.is_set() and not job.flying:
                await self._write(self._waiting.hand_back(job))
                return None
            event = None
            if len(turn.calls) == 1 and not job.flying:
                event = await self._call(job, turn.calls[0])
            else:
                for call in turn.calls:
                    job.flying += 1
                    task = asyncio.create_task(self._branch(job, call, arrived))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
            event = event or await self._next(job, arrived)
            now = self._clock.now()
            if event is None and await self._is_released(job, now):
                return None
            if event is None:
                effects = job.machine.wake(self._clock.now())
            else:
                effects = job.machine.handle(event, now)
            turn = await self._durable(job, effects)
        return turn

    async def _branch(
        self, job: Job, call: Attempt | Undo, arrived: asyncio.Queue[Event | None]
    ) -> None:
        arrived.put_nowait(await self._call(job, call))

    async def _call(self, job: Job, call: Attempt | Undo) -> Event | None:
        step = job.saga.steps[call.step]
        if step.act is Act.CHILD:
            return await asyncio.to_thread(self._waiting.compensate_child, job, call)
        try:
            with watched(job, call):
                value = await self._limited(job, call)
        except ENDS as error:
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            return job.failed(call, error)
        return job.succeeded(call, value)

    async def _limited(self, job: Job, call: Attempt | Undo) -> Any:
        step = job.saga.steps[call.step]
        function = step.undo_with if isinstance(call, Undo) else step.do
        run = job.run(call)
        if call.until is None:
            if inspect.iscoroutinefunction(function):
                return await called(job, call, run)
            return await asyncio.to_thread(called, job, call, run)
        left = max(_NOTHING, call.until - self._clock.now())
        with deadline(left):
            if inspect.iscoroutinefunction(function):
                async with asyncio.timeout(left.total_seconds()):
                    return await called(job, call, run)
            return await asyncio.to_thread(called, job, call, run)

    async def _durable(self, job: Job, effects: Iterable[Effect]) -> Turn:
        now = self._clock.now()
        turn = job.take(effects, now)
        await self._write(job.advance(turn, now), job)
        return turn

    async def _write(self, advance: Advance | None, job: Job | None = None) -> None:
        if advance is not None:
            await self._committer.commit(advance)
            if advance.fenced:
                raise Fenced(saga_id="" if job is None else job.id)

    async def _next(self, job: Job, arrived: asyncio.Queue[Event | None]) -> Event | None:
        while True:
            if job.awaits:
                event = await asyncio.to_thread(self._waiting.answered, job)
                if event is not None:
                    return event
            if not job.flying:
                return None
            due = job.machine.deadline()
            left = None if due is None else max(0.0, (due - self._clock.now()).total_seconds())
            try:
                async with asyncio.timeout(left):
                    event = await arrived.get()
            except TimeoutError:
                return None
            job.flying -= 1
            if event is not None:
                return event

    async def _is_released(self, job: Job, now: Instant) -> bool:
        if job.flying:
            return False
        due = job.machine.deadline()
        if due is not None and not job.awaits and due - now < HOLD:
            left = (due - now).total_seconds()
            while left > 0 and not self._closing.is_set():
                await asyncio.sleep(min(left, _LOOK_SECONDS))
                left = (due - self._clock.now()).total_seconds()
            return False
        if due is not None and due <= now:
            return False
        await self._write(self._waiting.leave(job, due), job)
        return True


def _is_cancelled() -> bool:
    """Whether this task is, and not something that its step waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
