"""Sagas that run are brought to another version of their definition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from moreton.kernel.time import Instant
from moreton.transactions.saga.core.errors import HistoryDoesNotFit
from moreton.transactions.saga.core.events import Status
from moreton.transactions.saga.core.migrating import why_not
from moreton.transactions.saga.core.plan import Plan
from moreton.transactions.saga.core.records import Migrated, Record, StepDone
from moreton.transactions.saga.core.rows import from_row, to_row
from moreton.transactions.saga.definition import Saga
from moreton.transactions.saga.ledgers.port import COLUMNS, Ledger, SagaRow

_PAGE = 200
_TRIES_MAX = 5
# More about a saga than its log says: "" when it can go on by the new definition.
Look = Callable[[SagaRow, Sequence[Record]], str]


@dataclass(frozen=True, slots=True)
class Migration:
    """What became of one saga: *why* it stays with the old version, or "" when it was brought."""

    id: str
    why: str


def migrate(
    ledger: Ledger, old: Plan, new: Plan, *, now: Instant, dry_run: bool, saga_id: str = "",
    look: Look | None = None,
) -> Iterator[Migration]:  # fmt: skip
    """Bring those that run by *old* to *new*, one by one; one that does not fit stays as it is.

    Each is one write: whoever has the saga is fenced off, and goes on by the new version. With
    *dry_run* nothing is written. *saga_id*: only that one.
    """
    last = 0
    while rows := _running(ledger, old, last, saga_id):
        for row in rows:
            last = row.number
            why = _one(ledger, row, old, new, now=now, dry_run=dry_run, look=look)
            yield Migration(row.id, why)


def why_unreadable(new: Saga, row: SagaRow, records: Sequence[Record]) -> str:
    """Why the code of *new* could not read what the saga has; "" when it can."""
    what = "its input"
    try:
        new.codec.decode(row.input)
        for record in records:
            if isinstance(record, StepDone):
                what = f'what step "{record.step}" returned'
                new.steps[record.step].codec.decode(record.result)
    except Exception as error:  # noqa: BLE001 - whatever a user's type raises
        return f"{what} cannot be read by version {new.version}: {error}"
    return ""


def _running(ledger: Ledger, plan: Plan, after: int, saga_id: str) -> list[SagaRow]:
    with ledger.looking() as db:
        rows = db.execute(
            f"SELECT {COLUMNS} FROM @sagas WHERE name = ? AND version = ? AND ended IS NULL"  # noqa: S608
            " AND number > ? AND (? = '' OR id = ?) ORDER BY number LIMIT ?",
            plan.name, plan.version, after, saga_id, saga_id, _PAGE,
        )  # fmt: skip
    return [SagaRow(*row) for row in rows]


def _one(
    ledger: Ledger, row: SagaRow, old: Plan, new: Plan, *, now: Instant, dry_run: bool,
    look: Look | None,
) -> str:  # fmt: skip
    for _ in range(_TRIES_MAX):
        try:
            records = [from_row(one) for one in ledger.log(row.number)]
            why = why_not(old, new, records) or (look(row, records) if look else "")
        except (HistoryDoesNotFit, KeyError, ValueError) as error:
            why = f"its log does not fit version {old.version}: {error}"
        if why or dry_run or _write(ledger, row, new, len(records), now):
            return why
        found = ledger.at(row.number)
        if found is None or found.ended is not None or found.version != old.version:
            return "it came to its end meanwhile"
        row = found
    return "it changes faster than that could be written; try again"


def _write(ledger: Ledger, row: SagaRow, new: Plan, seq: int, now: Instant) -> bool:
    """Whether the saga was as we saw it, and is of the new version now."""
    record = to_row(Migrated(row.version, new.version), now)
    with ledger.changing("migrate") as change:
        # Whoever writes to its log holds the row: look at the log only when that is done.
        if not change.execute(
            "SELECT epoch FROM @sagas WHERE number = ? AND epoch = ? AND version = ?"  # noqa: S608
            f" AND ended IS NULL{change.locking}",
            row.number, row.epoch, row.version,
        ):  # fmt: skip
            return False
        ((count,),) = change.execute("SELECT count(*) FROM @saga_log WHERE number = ?", row.number)
        if count != seq:
            return False
        change.execute(
            "UPDATE @sagas SET version = ?, epoch = epoch + 1, owner = NULL, takeovers = 0,"
            " status = CASE WHEN status IN ('parked', 'queued') THEN status ELSE ? END,"
            " due = CASE WHEN status IN ('parked', 'queued') THEN due ELSE 0 END"
            " WHERE number = ?",
            new.version, str(Status.READY), row.number,
        )  # fmt: skip
        change.execute("INSERT INTO @saga_log VALUES (?, ?, ?, ?, ?, ?)", row.number, seq, *record)
    return True
