"""How the writes of workers become rows of PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import psycopg

from moreton.transactions.saga.core.events import Status
from moreton.transactions.saga.ledgers import postgres_sql as sql
from moreton.transactions.saga.ledgers.port import Advance, Begin, Settle, Write

_Db = psycopg.Connection[Any]


class PostgresChange:
    """As `Change`, on *db*, within a transaction."""

    locking = " FOR UPDATE"
    skipping = " FOR UPDATE SKIP LOCKED"

    def __init__(self, db: _Db) -> None:
        self._db = db

    def now(self, own: int) -> int:
        """As `Change.now`."""
        del own
        return int(self._db.execute(f"SELECT {sql.NOW}".encode()).fetchall()[0][0])

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """As `Change.execute`."""
        done = self._db.execute(_in_postgres(statement), values)
        return [] if done.description is None else done.fetchall()

    def begin(self, new: Begin) -> None:
        """As `Change.begin`."""
        _begin(self._db, new)


@lru_cache
def _in_postgres(statement: str) -> bytes:
    return statement.replace("@", "moreton_").replace("?", "%s").encode()


def is_plain(write: Write) -> bool:
    """Whether *write* looks at no other row than its own saga's."""
    if isinstance(write, Begin):
        return not write.locks and not write.rows
    settle = write.settle
    if settle is None:
        return True
    return not (settle.awaits or settle.locked or settle.parent is not None)


def write_plain(db: _Db, batch: Sequence[Write]) -> None:
    """All of *batch* in one statement, thus in one transaction."""
    if len(batch) == 1 and _write_lone(db, batch[0]):
        return
    begins = [write for write in batch if isinstance(write, Begin)]
    advances = [write for write in batch if isinstance(write, Advance)]
    rows = [(a.number, a.epoch, seq, *row) for a in advances
            for seq, row in enumerate(a.rows, a.seq)]  # fmt: skip
    settles = [(a, a.settle) for a in advances if a.settle is not None]
    values: dict[str, list[Any]] = {}
    if begins:
        values |= _begin_values(begins)
    if rows:
        names = ("number", "epoch", "seq", "at", "kind", "step", "body")
        values |= {f"l_{name}": [row[i] for row in rows] for i, name in enumerate(names)}
    if settles:
        values |= {
            "u_number": [a.number for a, _ in settles],
            "u_epoch": [a.epoch for a, _ in settles],
            "u_status": [str(s.status) for _, s in settles],
            "u_due": [s.due for _, s in settles],
            "u_reason": [s.reason for _, s in settles],
            "u_ended": [s.ended for _, s in settles],
        }
    statement = sql.write_sql(begins=bool(begins), rows=bool(rows), settles=bool(settles))
    done = db.execute(statement.encode(), values).fetchall()
    numbers = {saga_id: number for what, saga_id, number, _ in done if what == "b"}
    for begin in begins:
        number = numbers.pop(begin.id, None)
        begin.existed, begin.number = number is None, number or 0
    written = {(what, number, seq) for what, _, number, seq in done if what != "b"}
    for a in advances:
        a.fenced = any(("l", a.number, a.seq + i) not in written for i in range(len(a.rows)))
        if a.settle is not None and ("u", a.number, 0) not in written:
            a.fenced = True


def _write_lone(db: _Db, write: Write) -> bool:
    """Write the most frequent kinds by a statement of their own; false for the others."""
    if isinstance(write, Begin):
        found = db.execute(sql.BEGIN_LONE.encode(), _begin_row(write)).fetchone()
        write.existed, write.number = found is None, 0 if found is None else found[0]
        return True
    if len(write.rows) != 1:
        return False
    row, settle = (write.seq, *write.rows[0]), write.settle
    if settle is None:
        done = db.execute(sql.LOG_LONE.encode(), (*row, write.number, write.epoch))
    else:
        rest = (str(settle.status), settle.due, settle.reason, settle.ended)
        done = db.execute(sql.END_LONE.encode(), (*rest, write.number, write.epoch, *row))
    write.fenced = done.rowcount != 1
    return True


def write_one(db: _Db, write: Write) -> None:
    """A write that looks at other rows; the caller has a transaction."""
    if isinstance(write, Begin):
        _begin(db, write)
    else:
        _advance(db, write)


_BEGIN_NAMES = (
    "id", "name", "version", "input", "started", "status", "due", "owner", "priority", "parent",
    "reason", "ended", "queue",
)  # fmt: skip


def _begin_row(new: Begin) -> tuple[Any, ...]:
    ended = new.started if new.status.is_final else None
    return (
        new.id, new.name, new.version, new.input, new.started, str(new.status), new.due, new.owner,
        new.priority, new.parent, new.reason, ended, new.queue,
    )  # fmt: skip


def _begin_values(begins: Sequence[Begin]) -> dict[str, list[Any]]:
    columns = zip(*map(_begin_row, begins), strict=True)
    return {f"b_{name}": list(values) for name, values in zip(_BEGIN_NAMES, columns, strict=True)}


def _begin(db: _Db, begin: Begin) -> None:
    if begin.locks:
        db.execute("SELECT pg_advisory_xact_lock(%s)", (sql.LOCKS_LOCK,))
    write_plain(db, [begin])
    if begin.existed:
        return
    for seq, row in enumerate(begin.rows):
        db.execute(sql.LOG_ONE, (begin.number, seq, *row, begin.number, 1))
    if not begin.locks or begin.status.is_final:
        return
    for key in dict.fromkeys(begin.locks):
        db.execute("INSERT INTO moreton_saga_locks VALUES (%s, %s)", (key, begin.number))
    if db.execute(sql.IS_BLOCKED, (begin.number,)).fetchone() is not None:
        begin.owner, begin.due, begin.status = None, None, Status.QUEUED
        db.execute(
            "UPDATE moreton_sagas SET owner = NULL, due = NULL, status = 'queued'"
            " WHERE number = %s",
            (begin.number,),
        )


def _advance(db: _Db, write: Advance) -> None:
    settle = write.settle
    assert settle is not None
    if settle.locked and settle.status.is_final:
        db.execute("SELECT pg_advisory_xact_lock(%s)", (sql.LOCKS_LOCK,))
    row = db.execute(sql.LOCK_ROW, (write.number,)).fetchone()
    if row is None or row[0] != write.epoch:
        write.fenced = True
        return
    for seq, one in enumerate(write.rows, write.seq):
        done = db.execute(sql.LOG_ONE, (write.number, seq, *one, write.number, write.epoch))
        if done.rowcount != 1:  # one that was fenced off wrote it before
            write.fenced = True
            raise psycopg.Rollback
    due = settle.due
    if settle.awaits:
        found = db.execute(
            "SELECT 1 FROM moreton_saga_signals WHERE number = %s AND name = ANY(%s)",
            (write.number, list(settle.awaits)),
        )
        due = 0 if found.fetchone() is not None else due
    values = (str(settle.status), due, settle.reason, settle.ended, write.number, write.epoch)
    db.execute(sql.SETTLE_ONE, values)
    if settle.status.is_final:
        _release(db, write.number, settle)


def _release(db: _Db, number: int, settle: Settle) -> None:
    """What waited for the end of a saga goes on."""
    if settle.parent is not None:
        db.execute(sql.LOCK_ROW, (settle.parent,))
        db.execute(sql.SIGNAL, (settle.parent, settle.signal, settle.reason))
        db.execute(sql.WAKE, (settle.parent,))
    if not settle.locked:
        return
    freed = db.execute(
        "DELETE FROM moreton_saga_locks WHERE number = %s RETURNING key", (number,)
    ).fetchall()
    for (key,) in freed:
        head = db.execute(
            "SELECT min(number) FROM moreton_saga_locks WHERE key = %s", (key,)
        ).fetchone()
        if head is None or head[0] is None:
            continue
        if db.execute(sql.IS_BLOCKED, (head[0],)).fetchone() is None:
            db.execute(sql.UNLOCK, (head[0],))
