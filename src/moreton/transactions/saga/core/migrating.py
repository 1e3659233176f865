"""Whether a saga that runs by one version can go on by another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from moreton.transactions.saga.core.errors import HistoryDoesNotFit
from moreton.transactions.saga.core.history import History, Mark
from moreton.transactions.saga.core.plan import Plan
from moreton.transactions.saga.core.records import Record


def why_not(old: Plan, new: Plan, records: Sequence[Record]) -> str:
    """Why a saga whose log is *records* cannot go on by *new* instead of *old*; "" when it can.

    It can when *new* could have written the log; when every step that may be under way, or that is
    to be undone, is the same there; and when the point of no return was passed in both or neither.
    """
    before, after = History(old), History(new)
    for record in records:
        before.apply(record)
    try:
        for record in records:
            after.apply(record)
    except HistoryDoesNotFit as error:
        return error.what
    return next(_faults(before, after), "")


def _faults(before: History, after: History) -> Iterator[str]:
    old, new = before.plan, after.plan
    for i, step in enumerate(old.steps):
        name = step.name
        touched = before.marks[i] is not Mark.NEW
        # What was under way when the log ends may have acted, though nothing says so.
        may_run = before.is_ready(i) and not before.backward
        if not (touched or may_run):
            continue
        j = new.index.get(name)
        if j is None:
            yield f'step "{name}" may be under way, and is not there any more'
            continue
        other = new.steps[j]
        if (step.act, step.kind) != (other.act, other.kind):
            yield f'step "{name}" was {step.kind} {step.act}, and is {other.kind} {other.act}'
        if may_run and not after.is_ready(j):
            yield f'step "{name}" may be under way, and something new comes before it'
        if before.needs_undo(i) and not after.needs_undo(j):
            yield f'step "{name}" has an undo, and what it did could not be undone any more'
    if before.past_return() != after.past_return():
        yield "the point of no return would be another one"
