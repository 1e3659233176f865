"""What happened to a saga, in lines; and, when it is parked, what a person has to decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from moreton.transactions.saga.core.events import Status
from moreton.transactions.saga.core.history import History, Mark
from moreton.transactions.saga.core.plan import Kind, Plan
from moreton.transactions.saga.core.records import (
    Aborted,
    Decided,
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
from moreton.transactions.saga.core.rows import LogRow, from_row
from moreton.transactions.saga.ledgers.port import SagaRow

_VALUE_CHARS_MAX = 60
_VERDICTS = {
    Verdict.AGAIN: "failed, will be tried again",
    Verdict.UNKNOWN: "failed, and may have acted",
    Verdict.DECLINED: "said no",
}


@dataclass(frozen=True, slots=True)
class Line:
    """Something that happened: *after* microseconds from the saga's beginning."""

    after: int
    mark: str  # ✓ done, ✗ failed, ↶ undone, … waits, ! parked, ? decided
    step: str
    what: str


@dataclass(frozen=True, slots=True)
class Option:
    """What a person may decide, by which command, and what that means."""

    decision: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Story:
    """A saga as it is told."""

    row: SagaRow
    lines: tuple[Line, ...]
    states: dict[str, str]  # of each step: done, undone, failed, stuck, or nothing
    question: str = ""
    options: tuple[Option, ...] = ()


def tell(row: SagaRow, rows: Sequence[LogRow], plan: Plan) -> Story:
    """The story of *row*, whose log is *rows*."""
    history = History(plan)
    lines = [Line(0, "▶", "", f"begun with {_short(row.input)}")]
    for one in rows:
        record = from_row(one)
        was_backward = history.backward
        history.apply(record)
        lines.append(_line(record, one.at - row.started))
        if history.backward and not was_backward:
            lines.append(Line(one.at - row.started, "←", "", "goes back"))
    end = row.ended - row.started if row.ended is not None else None
    if end is not None:
        lines.append(Line(end, "■", "", row.status))
    elif row.status == Status.WAITING:
        lines.append(Line(lines[-1].after, "…", "", row.reason or "waits"))
    states = {step.name: _state(history, i) for i, step in enumerate(plan.steps)}
    question = ""
    options: tuple[Option, ...] = ()
    if row.status == Status.PARKED:
        question, found = _question(row, history)
        options = tuple(found)
    return Story(row, tuple(lines), states, question, options)


def span(micros: int) -> str:
    """*micros* as people read it."""
    if micros < 10_000:
        return f"{micros / 1000:.1f} ms"
    if micros < 10_000_000:
        return f"{micros / 1000:.0f} ms"
    seconds = micros / 1e6
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 36_000 else f"{seconds / 3600:.0f} h"


def _line(record: Record, after: int) -> Line:
    match record:
        case StepDone(step, result, origin):
            what = "" if result == "null" else _short(result)
            line = Line(after, "✓", step, f"done by {origin} {what}" if origin else what)
        case StepFailed(step, attempt, error, verdict):
            tried = f" (attempt {attempt})" if attempt > 1 or verdict is Verdict.AGAIN else ""
            line = Line(after, "✗", step, f"{_VERDICTS[verdict]}{tried}: {_short(error)}")
        case StepUndone(step):
            line = Line(after, "↶", step, "undone")
        case UndoFailed(step, attempt, error, _, again_at):
            then = "will be tried again" if again_at is not None else "given up"
            line = Line(after, "✗", step, f"undo failed (attempt {attempt}, {then}): {error}")
        case Waiting(step, until):
            limit = "" if until is None else ", at most until its time is over"
            line = Line(after, "…", step, f"waits{limit}")
        case Aborted(reason):
            line = Line(after, "✗", "", reason)
        case Decided(decision, note):
            line = Line(after, "?", "", f"decided: {decision}" + (f" ({note})" if note else ""))
        case Migrated(before, version):
            what = f"goes on by version {version} instead of {before}"
            line = Line(after, "?", "", what)
        case Halted(reason):
            line = Line(after, "!", "", f"halted: {reason}")
        case _:
            assert_never(record)
    return line


def _state(history: History, i: int) -> str:
    if i in history.stuck:
        return "stuck"
    states = {
        Mark.DONE: "done", Mark.UNDONE: "undone", Mark.UNKNOWN: "failed", Mark.DECLINED: "failed",
    }  # fmt: skip
    return states.get(history.marks[i], "")


def _question(row: SagaRow, history: History) -> tuple[str, Iterator[Option]]:
    if history.halted:
        return f"It was halted: {history.halted}", _halted()
    stuck = [history.plan.steps[i] for i in sorted(history.stuck)]
    names = ", ".join(f'"{step.name}"' for step in stuck)
    if history.backward:
        question = (
            f"{names} could not be undone: what it did as {row.id}/{stuck[0].name} is still there, "
            "as far as anybody knows"
        )
        return question, _undone_by_hand()
    if any(step.kind is Kind.PIVOT for step in stuck):
        question = f"{names} failed without an answer: whether it took effect is not known"
    else:
        question = f"{names} did not succeed, and what was done before cannot be undone any more"
    return question, _done_by_hand(history)


def _halted() -> Iterator[Option]:
    yield Option("resume", "the cause is gone: go on")


def _undone_by_hand() -> Iterator[Option]:
    yield Option("retry", "try to undo it again")
    yield Option("skip", "it was undone by hand, or need not be: undo what came before it")


def _done_by_hand(history: History) -> Iterator[Option]:
    yield Option("retry", "try it again, under the same key")
    yield Option("skip", "it did take effect, or was done by hand: go on")
    if history.past_return() is None:
        done = [step.name for step, mark in zip(history.plan.steps, history.marks, strict=True)
                if mark is Mark.DONE and step.has_undo]  # fmt: skip
        undo = ", ".join(reversed(done)) or "nothing"
        yield Option("compensate", f"it did not take effect: go back, undoing {undo}")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _VALUE_CHARS_MAX else text[: _VALUE_CHARS_MAX - 1] + "…"
