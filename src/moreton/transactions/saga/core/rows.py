"""Records as rows of a log: kind, step, body; and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple, assert_never

from moreton.kernel.time import Instant
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


class LogRow(NamedTuple):
    """One row: *at* is in microseconds since 1970."""

    at: int
    kind: str
    step: str
    body: str


def to_row(record: Record, at: Instant) -> LogRow:
    """The row of *record*."""
    kind, step, body = _parts(record)
    text = body if isinstance(body, str) else json.dumps(body, separators=(",", ":"))
    return LogRow(at.nanos // 1000, kind, step, text)


def _parts(record: Record) -> tuple[str, str, str | dict[str, object]]:
    found: tuple[str, str, str | dict[str, object]]
    match record:
        case StepDone(step, result, ""):
            found = "step-done", step, result
        case StepDone(step, result, origin):
            found = "step-taken", step, {"result": result, "origin": origin}
        case StepFailed(step, attempt, error, verdict, began, again_at):
            body: dict[str, object] = {"attempt": attempt, "error": error, "verdict": verdict}
            times = {"began": _micros(began), "again_at": _micros(again_at)}
            found = "step-failed", step, body | times
        case StepUndone(step):
            found = "step-undone", step, ""
        case UndoFailed(step, attempt, error, began, again_at):
            times = {"began": _micros(began), "again_at": _micros(again_at)}
            found = "undo-failed", step, {"attempt": attempt, "error": error} | times
        case Waiting(step, until):
            found = "waiting", step, {"until": _micros(until)}
        case Aborted(reason):
            found = "aborted", "", reason
        case Decided(decision, note):
            found = "decided", "", {"decision": decision, "note": note}
        case Halted(reason):
            found = "halted", "", reason
        case Migrated(before, version):
            found = "migrated", "", {"from": before, "to": version}
        case _:
            assert_never(record)
    return found


def from_row(row: LogRow) -> Record:
    """The record of *row*."""
    _, kind, step, body = row
    return _READERS[kind](step, body)


def _read_failure(step: str, body: str) -> StepFailed:
    found = json.loads(body)
    verdict, began = Verdict(found["verdict"]), _moment(found["began"])
    again_at = _instant(found["again_at"])
    return StepFailed(step, found["attempt"], found["error"], verdict, began, again_at)


def _read_taken(step: str, body: str) -> StepDone:
    found = json.loads(body)
    return StepDone(step, found["result"], found["origin"])


def _read_undo_failure(step: str, body: str) -> UndoFailed:
    found = json.loads(body)
    began, again_at = _moment(found["began"]), _instant(found["again_at"])
    return UndoFailed(step, found["attempt"], found["error"], began, again_at)


def _read_decision(_: str, body: str) -> Decided:
    found = json.loads(body)
    return Decided(Decision(found["decision"]), found["note"])


def _read_migration(_: str, body: str) -> Migrated:
    found = json.loads(body)
    return Migrated(found["from"], found["to"])


_READERS: dict[str, Callable[[str, str], Record]] = {
    "step-done": StepDone,
    "step-taken": _read_taken,
    "step-failed": _read_failure,
    "step-undone": lambda step, _: StepUndone(step),
    "undo-failed": _read_undo_failure,
    "waiting": lambda step, body: Waiting(step, _instant(json.loads(body)["until"])),
    "aborted": lambda _, body: Aborted(body),
    "decided": _read_decision,
    "halted": lambda _, body: Halted(body),
    "migrated": _read_migration,
}
KINDS = tuple(_READERS)


def _micros(moment: Instant | None) -> int | None:
    return None if moment is None else moment.nanos // 1000


def _instant(micros: int | None) -> Instant | None:
    return None if micros is None else _moment(micros)


def _moment(micros: int) -> Instant:
    return Instant(micros * 1000)
