from __future__ import annotations

from collections.abc import Sequence

import pytest

from moreton.kernel.time import Instant
from moreton.transactions.saga.core.migrating import why_not
from moreton.transactions.saga.core.plan import Act, Kind, Plan, Series, StepPlan
from moreton.transactions.saga.core.records import (
    Aborted,
    Record,
    StepDone,
    StepFailed,
    Verdict,
    Waiting,
)

A, B, C = (StepPlan(name) for name in "abc")
NEW = StepPlan("new")
PIVOT = StepPlan("p", Kind.PIVOT, has_undo=False)
AFTER = StepPlan("r", Kind.RETRIABLE, has_undo=False)
GO = StepPlan("go", act=Act.SIGNAL, has_undo=False)


def plan(version: int, *steps: StepPlan) -> Plan:
    return Plan("order", version, Series(steps))


DONE_A = StepDone("a", "1")
GONE = StepFailed("b", 1, "no", Verdict.UNKNOWN, Instant(0))


@pytest.mark.parametrize(
    ("old", "new", "records"),
    [
        ((A, B, C), (A, B, NEW, C), [DONE_A]),  # something new after what may be under way
        ((A, B, C), (A, B), [DONE_A]),  # what was never begun may go
        ((A, B, PIVOT, AFTER), (A, B, NEW, PIVOT, AFTER), [DONE_A]),
        ((A, GO, B), (A, GO, NEW, B), [DONE_A, Waiting("go", None)]),
        ((A, B, C), (A, B), [DONE_A, GONE]),  # on its way back
    ],
)
def test_saga_goes_on_by_a_version_that_could_have_written_its_log(
    old: Sequence[StepPlan], new: Sequence[StepPlan], records: list[Record]
) -> None:
    assert why_not(plan(1, *old), plan(2, *new), records) == ""


NO_UNDO = StepPlan("a", has_undo=False, harmless=True)
CALLED_GO = StepPlan("go")


@pytest.mark.parametrize(
    ("old", "new", "records", "why"),
    [
        ((A, B), (B,), [DONE_A], 'which has no step "a"'),
        ((A, B), (NEW, A, B), [DONE_A], "though what comes before it was not done"),
        ((A, B, C), (A, C), [DONE_A], 'step "b" may be under way, and is not there any more'),
        ((A, B), (A, NEW, B), [DONE_A], "something new comes before it"),
        ((A, B), (NO_UNDO, B), [DONE_A], "could not be undone any more"),
        ((A, B), (A, B, NEW), [DONE_A, StepDone("b", "2"), Aborted("late")], ""),
        ((GO, B), (CALLED_GO, B), [Waiting("go", None)], "was compensatable signal"),
        ((A, PIVOT), (A, StepPlan("p")), [DONE_A], "was pivot call, and is compensatable call"),
    ],
)
def test_saga_stays_where_the_new_version_would_lose_or_repeat_something(
    old: Sequence[StepPlan], new: Sequence[StepPlan], records: list[Record], why: str
) -> None:
    found = why_not(plan(1, *old), plan(2, *new), records)
    assert why in found
    assert bool(why) == bool(found)
