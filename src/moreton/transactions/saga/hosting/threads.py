"""Sagas of plain functions: one thread drives one saga."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from concurrent.futures import Executor
from datetime import timedelta
from queue import Empty
from threading import Event as Flag
from typing import Any

from moreton.kernel.time import Instant
from moreton.resilience.context import deadline
from moreton.transactions.saga.clock import LogClock
from moreton.transactions.saga.core.events import Attempt, Effect, Event, Undo
from moreton.transactions.saga.core.plan import Act
from moreton.transactions.saga.errors import Fenced
from moreton.transactions.saga.hosting.job import Job, Turn
from moreton.transactions.saga.hosting.waiting import HOLD, Waiting
from moreton.transactions.saga.hosting.watching import watched
from moreton.transactions.saga.ledgers.port import Advance, Ledger

_NOTHING = timedelta(0)
# How a step fails: a thread that it ended, or whose loop was, would tell nobody.
ENDS = (Exception, SystemExit, asyncio.CancelledError)


class ThreadDriver:
    """Drives sagas in the thread that calls `drive`; branches run in threads of *branches*."""

    def __init__(
        self, ledger: Ledger, clock: LogClock, waiting: Waiting, *,
        branches: Executor, closing: Flag,
    ) -> None:  # fmt: skip
        self._ledger, self._clock, self._waiting = ledger, clock, waiting
        self._branches, self._closing = branches, closing

    def drive(self, job: Job, turn: Turn | None = None) -> Turn | None:
        """Go on with *job* until it rests or waits; its last turn if it rests.

        *turn*: what is to be done first, if that is known and durable. Raises `Fenced` when
        another worker has it, and what the ledger raises.
        """
        if turn is None:
            self._waiting.remember(job)
            event, now = self._waiting.answered(job), self._clock.now()
            machine = job.machine
            turn = self._durable(job, machine.handle(event, now) if event else machine.wake(now))
        while True:
            if turn.rest is not None:
                return turn
            job.awaits.update({wait.step: wait for wait in turn.awaits})
            if self._closing.is_set() and not job.flying:
                self._write(self._waiting.hand_back(job))
                return None
            event = self._start(job, turn) or self._next(job)
            now = self._clock.now()
            if event is None:
                if self._is_released(job, now):
                    return None
                effects = job.machine.wake(self._clock.now())
            else:
                effects = job.machine.handle(event, now)
            turn = self._durable(job, effects)

    def call(self, job: Job, call: Attempt | Undo) -> Event | None:
        """Do it; what came of it, or `None` when that is told by itself later."""
        step = job.saga.steps[call.step]
        if step.act is Act.CHILD:
            return self._waiting.compensate_child(job, call)
        run = job.run(call)
        limit: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if call.until is not None:
            limit = deadline(max(_NOTHING, call.until - self._clock.now()))
        try:
            with limit, watched(job, call):
                value = called(job, call, run)
        except ENDS as error:
            return job.failed(call, error)
        return job.succeeded(call, value)

    def _durable(self, job: Job, effects: Iterable[Effect]) -> Turn:
        now = self._clock.now()
        turn = job.take(effects, now)
        self._write(job.advance(turn, now), job)
        return turn

    def _write(self, advance: Advance | None, job: Job | None = None) -> None:
        if advance is not None:
            self._ledger.commit(advance)
            if advance.fenced:
                raise Fenced(saga_id="" if job is None else job.id)

    def _start(self, job: Job, turn: Turn) -> Event | None:
        """Begin the calls of *turn*; a single one is made here and now."""
        if len(turn.calls) == 1 and not job.flying:
            return self.call(job, turn.calls[0])
        for call in turn.calls:
            job.flying += 1
            self._branches.submit(self._branch, job, call)
        return None

    def _branch(self, job: Job, call: Attempt | Undo) -> None:
        job.events.put(self.call(job, call))

    def _next(self, job: Job) -> Event | None:
        """What happens next; `None` when it is time that passed, or nothing that we know of."""
        event = self._waiting.answered(job)
        if event is not None or not job.flying:
            return event
        due = job.machine.deadline()
        seconds = None if due is None else max(0.0, (due - self._clock.now()).total_seconds())
        with contextlib.suppress(Empty):
            event = job.events.get(timeout=seconds)
            job.flying -= 1
            return event or self._next(job)
        return None

    def _is_released(self, job: Job, now: Instant) -> bool:
        """Wait here for what is due soon; give the saga back for what is due later."""
        if job.flying:
            return False
        due = job.machine.deadline()
        if due is not None and not job.awaits and due - now < HOLD:
            self._closing.wait(max(0.0, (due - now).total_seconds()))
            return False
        if due is not None and due <= now:
            return False
        self._write(self._waiting.leave(job, due), job)
        return True


def called(job: Job, call: Attempt | Undo, run: Any) -> Any:
    """What the user's function returned, or the coroutine that will."""
    step = job.saga.steps[call.step]
    if isinstance(call, Undo):
        assert step.undo_with is not None
        result = None if call.result is None else step.codec.decode(call.result)
        return step.undo_with(run, result)
    assert step.do is not None
    return step.do(run)
