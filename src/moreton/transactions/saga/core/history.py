"""A saga's state as the fold of its log."""

from __future__ import annotations

from enum import StrEnum
from typing import NoReturn, assert_never

from moreton.kernel.time import Instant
from moreton.transactions.saga.core.errors import DecisionRefused, HistoryDoesNotFit
from moreton.transactions.saga.core.plan import Act, Kind, Plan
from moreton.transactions.saga.core.records import (
    Aborted,
    Decided,
    Decision,
    Halted,
    Migrated,
    Record,
    StepDone,
    StepFailed,
    StepUndone,
    UndoFailed,
    Verdict,
    Waiting,
)

# What a step that was done by hand returned.
NOTHING = "null"


class Mark(StrEnum):
    """What is known of a step."""

    NEW = "new"  # nothing durable says that it ended
    DONE = "done"
    UNKNOWN = "unknown"  # it failed and may have taken effect
    DECLINED = "declined"  # it did nothing
    UNDONE = "undone"


class History:
    """What the records so far say; lists are by the step's number in the plan.

    Raises `HistoryDoesNotFit` when a record could not follow from those before it under *plan*.
    """

    __slots__ = ("again_at", "attempts", "backward", "began", "halted", "marks", "origins", "plan",
                 "reason", "records", "results", "stuck", "until", "waiting")  # fmt: skip

    def __init__(self, plan: Plan) -> None:
        count = len(plan.steps)
        self.plan = plan
        self.records = 0
        self.marks = [Mark.NEW] * count
        self.attempts = [0] * count  # in the present direction
        self.began: list[Instant | None] = [None] * count
        self.again_at: list[Instant | None] = [None] * count
        self.results: dict[str, str] = {}
        self.origins: dict[str, str] = {}  # of steps that a fork took over
        self.waiting: set[int] = set()
        self.until: list[Instant | None] = [None] * count
        self.stuck: set[int] = set()
        self.backward = False
        self.reason = ""  # why it goes back
        self.halted = ""

    def apply(self, record: Record) -> None:
        """Take *record* in."""
        self.records += 1
        match record:
            case StepDone(step, result, origin):
                i = self._forward(step)
                if origin:
                    self.origins[step] = origin
                self.marks[i] = Mark.DONE
                self.results[step] = result
                self._settle(i)
            case StepFailed():
                self._apply_failure(record)
            case StepUndone(step):
                i = self._undoing(step)
                self.marks[i] = Mark.UNDONE
                self._settle(i)
            case UndoFailed(step, attempt, _, began, again_at):
                i = self._undoing(step)
                self.attempts[i], self.began[i], self.again_at[i] = attempt, began, again_at
                if again_at is None:
                    self.stuck.add(i)
            case Waiting(step, until):
                i = self._forward(step)
                self.waiting.add(i)
                self.until[i] = until
            case Aborted(reason):
                self._turn(reason)
            case Decided(decision):
                self._apply_decision(decision)
            case Halted(reason):
                self.halted = reason
            case Migrated():
                pass  # that the log fits was looked at before it was written
            case _:
                assert_never(record)

    def needs_undo(self, i: int) -> bool:
        """Whether the step has, or may have, done something that is to be taken back."""
        step = self.plan.steps[i]
        undoable = step.has_undo or step.act is Act.CHILD
        return undoable and self.marks[i] in {Mark.DONE, Mark.UNKNOWN}

    def is_ready(self, i: int) -> bool:
        """Whether the step has not ended, and everything before it is done."""
        marks = self.marks
        if marks[i] is not Mark.NEW:
            return False
        return all(marks[j] is Mark.DONE for j in self.plan.before[i])

    def kept_before(self, name: str) -> list[int]:
        """The steps that a fork from step *name* takes over: all but that one and those after it.

        Raises `DecisionRefused` when one of them is not done.
        """
        first = self._number(name)
        later, todo = {first}, [first]
        while todo:
            new = self.plan.after[todo.pop()] - later
            later |= new
            todo += new
        kept = [i for i in range(len(self.marks)) if i not in later]
        for i in kept:
            if self.marks[i] is not Mark.DONE:
                why = f'"{self.plan.steps[i].name}", which comes before, is {self.marks[i]}'
                raise DecisionRefused(decision=f'a fork from "{name}"', why=why)
        return kept

    def past_return(self) -> str | None:
        """The step because of which nothing can be undone any more."""
        for step, mark in zip(self.plan.steps, self.marks, strict=True):
            if step.kind is not Kind.COMPENSATABLE and mark is Mark.DONE:
                return step.name
        return None

    def _apply_failure(self, record: StepFailed) -> None:
        i = self._forward(record.step)
        self.attempts[i], self.began[i] = record.attempt, record.began
        self.again_at[i] = record.again_at
        if record.verdict is Verdict.AGAIN:
            return
        kind = self.plan.steps[i].kind
        declined = record.verdict is Verdict.DECLINED
        self.marks[i] = Mark.DECLINED if declined else Mark.UNKNOWN
        self._settle(i)
        if self.backward or kind is Kind.COMPENSATABLE or (kind is Kind.PIVOT and declined):
            self._turn(f"{record.step}: {record.error}")
        else:
            self.stuck.add(i)

    def _apply_decision(self, decision: Decision) -> None:
        stuck, self.stuck, self.halted = self.stuck, set(), ""
        if decision is Decision.COMPENSATE:
            for i in stuck:
                self.marks[i] = Mark.DECLINED
            self._turn("it was decided")
            return
        for i in stuck:
            self.attempts[i], self.began[i] = 0, None
            if decision is Decision.SKIP:
                self.marks[i] = Mark.UNDONE if self.backward else Mark.DONE
                if not self.backward:
                    self.results[self.plan.steps[i].name] = NOTHING
            elif not self.backward:
                self.marks[i] = Mark.NEW

    def _turn(self, reason: str) -> None:
        """From now on the saga goes back."""
        if not self.backward:
            self.backward = True
            self.reason = reason
            self.waiting.clear()
            self.until = [None] * len(self.until)

    def _settle(self, i: int) -> None:
        self.again_at[i] = self.until[i] = self.began[i] = None
        self.attempts[i] = 0
        self.waiting.discard(i)

    def _forward(self, name: str) -> int:
        i = self._number(name)
        if not self.is_ready(i):
            self._misfit(f'"{name}" happened, though what comes before it was not done')
        return i

    def _undoing(self, name: str) -> int:
        i = self._number(name)
        if not self.backward or not self.needs_undo(i):
            self._misfit(f'"{name}" was undone, though there was nothing to undo')
        return i

    def _number(self, name: str) -> int:
        i = self.plan.index.get(name)
        if i is None:
            self._misfit(f'which has no step "{name}"')
        return i

    def _misfit(self, what: str) -> NoReturn:
        raise HistoryDoesNotFit(saga=self.plan.name, version=self.plan.version, what=what)
