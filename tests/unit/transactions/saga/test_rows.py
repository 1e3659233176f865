from __future__ import annotations

import pytest

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
from moreton.transactions.saga.core.rows import KINDS, from_row, to_row

T = Instant(1_700_000_000_000_001_000)
RECORDS: list[Record] = [
    StepDone("a", '{"x":1}'),
    StepDone("a", "1", "other"),
    StepFailed("a", 2, "trouble: ü", Verdict.AGAIN, T, T),
    StepFailed("a", 3, "", Verdict.UNKNOWN, T, None),
    StepUndone("a"),
    UndoFailed("a", 1, "trouble", T, None),
    Waiting("a", T),
    Waiting("a", None),
    Aborted("too late"),
    Decided(Decision.SKIP, "anna: done by hand"),
    Migrated(1, 2),
    Halted("taken over too often"),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_record_comes_back_from_its_row(record: Record) -> None:
    assert from_row(to_row(record, T)) == record


def test_every_kind_of_row_is_tried() -> None:
    assert {to_row(record, T).kind for record in RECORDS} == set(KINDS)
