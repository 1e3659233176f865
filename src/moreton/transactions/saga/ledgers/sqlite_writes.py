"""How the writes of workers become rows of SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from moreton.transactions.saga.core.events import Status
from moreton.transactions.saga.core.rows import LogRow
from moreton.transactions.saga.ledgers.port import Advance, Begin, Settle

_BEGIN = (
    "INSERT INTO sagas (id, name, version, input, started, status, due, owner, priority, parent,"
    " reason, epoch, ended, queue) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?)"
    " ON CONFLICT (id) DO NOTHING"
)
LOG = (
    "INSERT OR IGNORE INTO saga_log SELECT ?, ?, ?, ?, ?, ?"
    " WHERE EXISTS (SELECT 1 FROM sagas WHERE number = ? AND epoch = ?)"
)
_SETTLE = (
    "UPDATE sagas SET status = ?, due = ?, reason = ?, ended = ?, owner = NULL"
    " WHERE number = ? AND epoch = ?"
)
WAKE = "UPDATE sagas SET due = 0, status = 'ready' WHERE number = ? AND status = 'waiting'"
_UNLOCK = "UPDATE sagas SET due = 0, status = 'ready' WHERE number = ? AND status = 'queued'"
SIGNAL = "INSERT OR IGNORE INTO saga_signals VALUES (?, ?, ?)"


class SqliteChange:
    """As `Change`, on *db*, within a transaction."""

    locking = skipping = ""  # there is one writer

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def now(self, own: int) -> int:
        """As `Change.now`."""
        return own

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """As `Change.execute`."""
        return self._db.execute(_in_sqlite(statement), values).fetchall()

    def begin(self, new: Begin) -> None:
        """As `Change.begin`."""
        begin(self._db, new)


@lru_cache
def _in_sqlite(statement: str) -> str:
    return statement.replace("@", "")


def begin(db: sqlite3.Connection, new: Begin) -> None:
    """Write *new*; `existed` if its id is taken."""
    ended = new.started if new.status.is_final else None
    values: tuple[object, ...] = (
        new.id, new.name, new.version, new.input, new.started, new.status, new.due,
    )  # fmt: skip
    values += (new.owner, new.priority, new.parent, new.reason, ended, new.queue)
    done = db.execute(_BEGIN, values)
    if done.rowcount != 1:
        new.existed = True
        return
    new.number = done.lastrowid or 0
    if new.locks and not new.status.is_final:
        db.executemany(
            "INSERT OR IGNORE INTO saga_locks VALUES (?, ?)",
            [(key, new.number) for key in new.locks],
        )
        if _is_blocked(db, new.number):
            new.owner, new.due, new.status = None, None, Status.QUEUED
            db.execute(
                "UPDATE sagas SET owner = NULL, due = NULL, status = 'queued' WHERE number = ?",
                (new.number,),
            )
    log_rows(db, new.number, 1, 0, new.rows)


def advance(db: sqlite3.Connection, write: Advance) -> None:
    """Write *write*, or find that it is fenced off."""
    log_rows_of(db, write)
    settle = write.settle
    if settle is None or write.fenced:
        return
    due = settle.due
    if any(_has_signal(db, write.number, name) for name in settle.awaits):
        due = 0
    values = (settle.status, due, settle.reason, settle.ended)
    done = db.execute(_SETTLE, (*values, write.number, write.epoch))
    write.fenced = done.rowcount != 1
    if settle.status.is_final and not write.fenced:
        _release(db, write.number, settle)


def _release(db: sqlite3.Connection, number: int, settle: Settle) -> None:
    """What waited for the end of a saga goes on."""
    if settle.parent is not None:
        db.execute(SIGNAL, (settle.parent, settle.signal, settle.reason))
        db.execute(WAKE, (settle.parent,))
    keys = db.execute("DELETE FROM saga_locks WHERE number = ? RETURNING key", (number,))
    for (key,) in keys.fetchall():
        found = db.execute("SELECT min(number) FROM saga_locks WHERE key = ?", (key,))
        (head,) = found.fetchone()
        if head is not None and not _is_blocked(db, head):
            db.execute(_UNLOCK, (head,))


def _is_blocked(db: sqlite3.Connection, number: int) -> bool:
    found = db.execute(
        "SELECT 1 FROM saga_locks mine JOIN saga_locks theirs ON theirs.key = mine.key"
        " AND theirs.number < mine.number WHERE mine.number = ? LIMIT 1",
        (number,),
    )
    return found.fetchone() is not None


def _has_signal(db: sqlite3.Connection, number: int, name: str) -> bool:
    found = db.execute("SELECT 1 FROM saga_signals WHERE number = ? AND name = ?", (number, name))
    return found.fetchone() is not None


def log_rows_of(db: sqlite3.Connection, write: Advance) -> None:
    """The rows of *write* alone."""
    for seq, row in enumerate(write.rows, write.seq):
        values = (write.number, seq, *row, write.number, write.epoch)
        if db.execute(LOG, values).rowcount != 1:
            write.fenced = True
            return


def log_rows(
    db: sqlite3.Connection, number: int, epoch: int, seq: int, rows: Sequence[LogRow]
) -> None:
    """Rows from *seq* on, if *epoch* is the saga's."""
    for offset, row in enumerate(rows):
        db.execute(LOG, (number, seq + offset, *row, number, epoch))


def is_one_row(write: Advance) -> bool:
    """Whether *write* is one row, which needs no transaction around it."""
    return write.settle is None and len(write.rows) == 1
