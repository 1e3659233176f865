"""A saga as a machine: what happened goes in, what is to be done comes out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import assert_never

from moreton.kernel.rng import Rng
from moreton.kernel.time import Instant
from moreton.transactions.saga.core.errors import DecisionRefused
from moreton.transactions.saga.core.events import (
    Append,
    Attempt,
    Await,
    Effect,
    Event,
    Failed,
    Failure,
    Halt,
    Rest,
    Status,
    Succeeded,
    Told,
    Undid,
    Undo,
)
from moreton.transactions.saga.core.history import History, Mark
from moreton.transactions.saga.core.plan import Act, Attempts, Kind, Plan
from moreton.transactions.saga.core.records import (
    Aborted,
    Decided,
    Decision,
    Halted,
    Record,
    StepDone,
    StepFailed,
    StepUndone,
    UndoFailed,
    Verdict,
    Waiting,
)


class SagaMachine:
    """One saga of *plan*, brought to where *records* end.

    Time is that of the log: calendar time, the same for every worker. What was under way when the
    records end is done again, unless the saga goes back by then: it is undone then, as it may have
    taken effect. Call `wake` once at the beginning.
    """

    __slots__ = ("_active", "_rng", "_started", "history", "plan")

    def __init__(
        self, plan: Plan, *, started: Instant, rng: Rng, records: Iterable[Record] = ()
    ) -> None:
        self.plan = plan
        self.history = History(plan)
        self._started = started
        self._rng = rng
        self._active: set[int] = set()
        for record in records:
            self.history.apply(record)

    def handle(self, event: Event, now: Instant) -> Sequence[Effect]:
        """What follows from *event*; raises `DecisionRefused` for a decision that does not fit."""
        match event:
            case Succeeded(step, result):
                self._active.discard(self.plan.index[step])
                record: Record = StepDone(step, result)
            case Undid(step):
                self._active.discard(self.plan.index[step])
                record = StepUndone(step)
            case Failed(step):
                i = self.plan.index[step]
                self._active.discard(i)
                undoing = self.history.backward and self.history.needs_undo(i)
                failed = self._undo_failed if undoing else self._failed
                record = failed(i, event, now)
            case Told():
                record = self._decided(event)
            case Halt(reason):
                record = Halted(reason)
            case _:
                assert_never(event)
        return [*self._append(record), *self._go(now)]

    def wake(self, now: Instant) -> Sequence[Effect]:
        """What is due at *now*: attempts whose wait is over, and what was never begun."""
        return list(self._go(now))

    def deadline(self) -> Instant | None:
        """When the next attempt, or the end of a wait, is due."""
        if self.history.halted:
            return None
        moments = [m for m in (*self.history.again_at, *self.history.until) if m is not None]
        end = self._end()
        if end is not None:
            moments.append(end)
        return min(moments, default=None)

    def defer(self, step: str) -> None:
        """What *step* was asked to do ends by itself: it is asked again after the next fold."""
        self.history.waiting.add(self.plan.index[step])

    @property
    def is_idle(self) -> bool:
        """Whether all that is under way only waits, so that no worker need hold the saga."""
        return self._active <= self.history.waiting

    def _append(self, record: Record) -> Iterator[Effect]:
        self.history.apply(record)
        yield Append(record)

    def _go(self, now: Instant) -> Iterator[Effect]:
        if self.history.halted:
            yield Rest(Status.PARKED, self.history.halted)
            return
        yield from self._expire(now)
        end = self._end()
        if end is not None and end <= now:
            yield from self._append(Aborted("the saga did not end in its time"))
        if self.history.backward:
            yield from self._go_back(now)
        else:
            yield from self._go_on(now)

    def _expire(self, now: Instant) -> Iterator[Effect]:
        for i, until in enumerate(self.history.until):
            if until is None or until > now:
                continue
            step = self.plan.steps[i]
            self._active.discard(i)
            if step.act is Act.PAUSE:
                yield from self._append(StepDone(step.name, "null"))
            else:
                error = "nothing came in its time"
                verdict = Verdict.UNKNOWN if step.act is Act.CHILD else Verdict.DECLINED
                yield from self._append(StepFailed(step.name, 1, error, verdict, until))

    def _go_on(self, now: Instant) -> Iterator[Effect]:
        history, active = self.history, self._active
        done = 0
        for i, step in enumerate(self.plan.steps):
            if history.marks[i] is Mark.DONE:
                done += 1
                continue
            again_at = history.again_at[i]
            if i in active or not history.is_ready(i) or (again_at is not None and again_at > now):
                continue
            active.add(i)
            if step.act is Act.CALL:
                history.again_at[i] = None
                began = history.began[i] = history.began[i] or now
                number = history.attempts[i] + 1
                yield Attempt(step.name, number, _until(step.attempts, began, now))
                continue
            if i not in history.waiting:
                limit = step.attempts.timeout
                until = None if limit is None else now + timedelta(seconds=limit)
                yield from self._append(Waiting(step.name, until))
            yield Await(step.name, step.act)
        if done == len(self.plan.steps):
            yield Rest(Status.COMPLETED)
        else:
            yield from self._park_if_stuck()

    def _go_back(self, now: Instant) -> Iterator[Effect]:
        history, active = self.history, self._active
        active -= {
            i
            for i in active
            if self.plan.steps[i].act is not Act.CALL and history.marks[i] is Mark.NEW
        }  # fmt: skip - waits end without a word
        # No undo begins while something is still being done.
        if any(history.marks[i] is Mark.NEW for i in active):
            return
        yield from self._give_up(now)
        left = False
        for i, step in enumerate(self.plan.steps):
            if not history.needs_undo(i):
                continue
            left = True
            again_at = history.again_at[i]
            if i in active or i in history.stuck or (again_at is not None and again_at > now):
                continue
            if any(history.needs_undo(j) for j in self._later(i)):
                continue
            active.add(i)
            history.again_at[i] = None
            began = history.began[i] = history.began[i] or now
            number = history.attempts[i] + 1
            until = _until(step.undo_attempts, began, now)
            yield Undo(step.name, number, until, history.results.get(step.name))
        if not left:
            yield Rest(Status.COMPENSATED, history.reason)
        else:
            yield from self._park_if_stuck()

    def _later(self, i: int) -> Iterator[int]:
        """All that comes after step *i*."""
        seen: set[int] = set()
        todo = list(self.plan.after[i])
        while todo:
            j = todo.pop()
            if j not in seen:
                seen.add(j)
                todo += self.plan.after[j]
                yield j

    def _give_up(self, now: Instant) -> Iterator[Effect]:
        """What was begun, or may have been, and of which nobody will tell any more."""
        for i, step in enumerate(self.plan.steps):
            if self.history.is_ready(i):
                may_have_acted = step.act in {Act.CALL, Act.CHILD}
                verdict = Verdict.UNKNOWN if may_have_acted else Verdict.DECLINED
                attempt, began = self.history.attempts[i], self.history.began[i] or now
                error = "given up, as the saga goes back"
                yield from self._append(StepFailed(step.name, attempt, error, verdict, began))

    def _park_if_stuck(self) -> Iterator[Effect]:
        history = self.history
        if history.stuck and self.is_idle and not any(history.again_at):
            direction = "undone" if history.backward else "done"
            names = ", ".join(f'"{self.plan.steps[i].name}"' for i in sorted(history.stuck))
            yield Rest(Status.PARKED, f"{names} could not be {direction}")

    def _failed(self, i: int, event: Failed, now: Instant) -> StepFailed:
        history, step = self.history, self.plan.steps[i]
        attempt, began = history.attempts[i] + 1, history.began[i] or now
        again_at = None
        if event.failure is Failure.DECLINED:
            verdict = Verdict.DECLINED
        else:
            verdict = Verdict.UNKNOWN
            if event.failure is Failure.TRANSIENT and not history.backward:
                again_at = self._again_at(step.attempts, attempt, began, now)
            if again_at is not None:
                verdict = Verdict.AGAIN
        return StepFailed(step.name, attempt, event.error, verdict, began, again_at)

    def _undo_failed(self, i: int, event: Failed, now: Instant) -> UndoFailed:
        history, step = self.history, self.plan.steps[i]
        attempt, began = history.attempts[i] + 1, history.began[i] or now
        again_at = None
        if event.failure is Failure.TRANSIENT:
            again_at = self._again_at(step.undo_attempts, attempt, began, now)
        return UndoFailed(step.name, attempt, event.error, began, again_at)

    def _again_at(
        self, attempts: Attempts, attempt: int, began: Instant, now: Instant
    ) -> Instant | None:
        if attempt >= attempts.most:
            return None
        at = now + timedelta(seconds=attempts.backoff.seconds(attempt, self._rng))
        if attempts.deadline is not None and at >= began + timedelta(seconds=attempts.deadline):
            return None
        return at

    def _decided(self, told: Told) -> Decided:
        history, decision = self.history, told.decision
        why = ""
        if decision is Decision.COMPENSATE:
            past = history.past_return()
            if history.backward:
                why = "it goes back already; decide by retry or skip about what is stuck"
            elif past is not None:
                why = f'"{past}" was done, after which nothing is undone; it can only go on'
        elif decision is Decision.RESUME:
            if not history.halted:
                why = "it was not halted; decide by retry, skip or compensate about a stuck step"
        elif not history.stuck:
            why = "no step of it is stuck" + ("; use resume" if history.halted else "")
        if why:
            raise DecisionRefused(decision=decision.value, why=why)
        return Decided(decision, told.note)

    def _end(self) -> Instant | None:
        """When the saga turns back by itself: never once it passed the point of no return."""
        if self.plan.deadline is None or self.history.backward or self.history.past_return():
            return None
        if any(self.plan.steps[i].kind is not Kind.COMPENSATABLE for i in self._active):
            return None  # too late to change one's mind
        if any(self.plan.steps[i].kind is not Kind.COMPENSATABLE for i in self.history.stuck):
            return None
        return self._started + timedelta(seconds=self.plan.deadline)


def _until(attempts: Attempts, began: Instant, now: Instant) -> Instant | None:
    limits = []
    if attempts.timeout is not None:
        limits.append(now + timedelta(seconds=attempts.timeout))
    if attempts.deadline is not None:
        limits.append(began + timedelta(seconds=attempts.deadline))
    return min(limits, default=None)
