"""Sagas in one SQLite file, written by one process at a time."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from moreton.transactions.saga.core.events import Status
from moreton.transactions.saga.core.rows import LogRow
from moreton.transactions.saga.ledgers import sqlite_writes as writes
from moreton.transactions.saga.ledgers.group import GroupCommit
from moreton.transactions.saga.ledgers.points import Points
from moreton.transactions.saga.ledgers.port import (
    COLUMNS,
    Advance,
    Begin,
    Change,
    SagaRow,
    Stored,
    Write,
)
from moreton.transactions.saga.ledgers.sqlite_file import lock_file, open_file, translated

# No lease: a process that has the file has all sagas in it, until it lets go of the file.
FOREVER = 1 << 62

_POINTS = Points("saga.sqlite")


class SqliteLedger:
    """The file at *path*. *owner*: as its one engine; else to look at it and to decide."""

    lease_micros = FOREVER
    poll_seconds = 0.1

    def __init__(self, path: Path, *, owner: bool = True) -> None:
        self.path = Path(os.path.realpath(path))
        self._lock = lock_file(self.path) if owner else -1
        try:
            self._db = open_file(self.path, create=owner)
        except BaseException:
            if owner:
                os.close(self._lock)
            raise
        self.where = str(self.path)
        self._group = GroupCommit[Write](self._write_all)
        self.commit = self._group.commit
        self.commit_all = self._group.commit_all
        if owner:
            with self._change() as db:  # whoever had them is gone
                db.execute("UPDATE sagas SET due = 0 WHERE due > 0 AND status = 'running'")

    def now_nanos(self) -> int:
        """As `Ledger.now_nanos`."""
        return time.time_ns()

    def claim(
        self, owner: str, names: Sequence[tuple[str, int]], most: int, now: int
    ) -> list[SagaRow]:
        """As `Ledger.claim`."""
        with self._look() as db:
            due = db.execute("SELECT 1 FROM sagas WHERE due > 0 AND due <= ? LIMIT 1", (now,))
            late = due.fetchone() is not None
            ready = db.execute(
                "SELECT 1 FROM sagas WHERE due = 0 AND queue = '' LIMIT 1"
            ).fetchone()
        if not late and ready is None:
            return []
        known = ", ".join(["(?, ?)"] * len(names))
        values = [value for name in names for value in name]
        with self._change("claim") as db:
            db.execute("UPDATE sagas SET due = 0 WHERE due > 0 AND due <= ?", (now,))
            rows = db.execute(
                f"UPDATE sagas SET due = {FOREVER}, epoch = epoch + 1, status = 'running',"  # noqa: S608
                " takeovers = takeovers + (owner IS NOT NULL), owner = ? WHERE number IN ("
                " SELECT number FROM sagas WHERE due = 0 AND queue = ''"
                f" AND (name, version) IN (VALUES {known})"
                f" ORDER BY priority DESC, number LIMIT ?) RETURNING {COLUMNS}",
                (owner, *values, most),
            ).fetchall()
        return [SagaRow(*row) for row in rows]

    def renew(self, owner: str, numbers: Sequence[int]) -> None:
        """Nothing to do: the file is the lease."""

    def release(self, owner: str, claims: Sequence[tuple[int, int]]) -> None:
        """As `Ledger.release`."""
        with self._change("release") as db:
            db.executemany(
                "UPDATE sagas SET due = 0 WHERE number = ? AND epoch = ? AND owner = ?",
                [(number, epoch, owner) for number, epoch in claims],
            )

    def took_over(self, number: int, epoch: int, *, times: int, seen: int) -> None:
        """As `Ledger.took_over`."""
        with self._change("took-over") as db:
            db.execute(
                "UPDATE sagas SET takeovers = ?, seen = ? WHERE number = ? AND epoch = ?",
                (times, seen, number, epoch),
            )

    def log(self, number: int) -> list[LogRow]:
        """As `Ledger.log`."""
        with self._look() as db:
            rows = db.execute(
                "SELECT at, kind, step, body FROM saga_log WHERE number = ? ORDER BY seq", (number,)
            ).fetchall()
        return [LogRow(*row) for row in rows]

    def logs(self, numbers: Sequence[int]) -> dict[int, list[LogRow]]:
        """As `Ledger.logs`."""
        return {number: rows for number in numbers if (rows := self.log(number))}

    def find(self, saga_id: str) -> SagaRow | None:
        """As `Ledger.find`."""
        return self._one("id", saga_id)

    def at(self, number: int) -> SagaRow | None:
        """As `Ledger.at`."""
        return self._one("number", number)

    def listed(
        self, *, status: Status | None, name: str | None, most: int, queue: str | None = None
    ) -> list[SagaRow]:
        """As `Ledger.listed`."""
        with self._look() as db:
            rows = db.execute(
                f"SELECT {COLUMNS} FROM sagas WHERE (:status IS NULL OR status = :status)"  # noqa: S608
                " AND (:name IS NULL OR name = :name) AND (:queue IS NULL OR queue = :queue)"
                " ORDER BY number DESC LIMIT :most",
                {"status": status, "name": name, "queue": queue, "most": most},
            ).fetchall()
        return [SagaRow(*row) for row in rows]

    def interject(
        self, row: SagaRow, seq: int, rows: Sequence[LogRow], status: Status, due: int | None
    ) -> bool:
        """As `Ledger.interject`."""
        with self._change("interject") as db:
            done = db.execute(
                "UPDATE sagas SET epoch = epoch + 1, owner = NULL, status = ?, due = ?,"
                " ended = NULL, reason = '', takeovers = 0 WHERE number = ? AND epoch = ?"
                " AND (SELECT count(*) FROM saga_log WHERE number = ?) = ?",
                (status, due, row.number, row.epoch, row.number, seq),
            )
            if done.rowcount != 1:
                return False
            writes.log_rows(db, row.number, row.epoch + 1, seq, rows)
        return True

    def signal(self, number: int, name: str, value: str) -> bool:
        """As `Ledger.signal`."""
        with self._change("signal") as db:
            done = db.execute(writes.SIGNAL, (number, name, value))
            is_new = done.rowcount == 1
            db.execute(writes.WAKE, (number,))
        return is_new

    def signalled(self, number: int, name: str) -> str | None:
        """As `Ledger.signalled`."""
        with self._look() as db:
            row = db.execute(
                "SELECT value FROM saga_signals WHERE number = ? AND name = ?", (number, name)
            ).fetchone()
        return None if row is None else row[0]

    def definitions(self) -> list[Stored]:
        """As `Ledger.definitions`."""
        with self._look() as db:
            rows = db.execute(
                "SELECT name, version, fingerprint, shape, (SELECT count(*) FROM sagas s"
                " WHERE s.name = d.name AND s.version = d.version AND s.ended IS NULL)"
                " FROM saga_definitions d"
            ).fetchall()
        return [Stored(*row) for row in rows]

    def define(self, stored: Stored) -> None:
        """As `Ledger.define`."""
        with self._change("define") as db:
            db.execute(
                "REPLACE INTO saga_definitions VALUES (?, ?, ?, ?)",
                (stored.name, stored.version, stored.fingerprint, stored.shape),
            )

    def pending(self, most: int) -> int:
        """As `Ledger.pending`."""
        with self._look() as db:
            ready = "SELECT count(*) FROM (SELECT 1 FROM sagas WHERE due = 0 LIMIT ?)"
            return int(db.execute(ready, (most,)).fetchone()[0])

    def counts(self) -> dict[str, int]:
        """As `Ledger.counts`."""
        with self._look() as db:
            return dict(db.execute("SELECT status, count(*) FROM sagas GROUP BY status").fetchall())

    def forget(self, before: int, most: int) -> int:
        """As `Ledger.forget`."""
        old = (
            "SELECT number FROM sagas AS one WHERE ended < ? AND NOT EXISTS"
            " (SELECT 1 FROM sagas WHERE number = one.parent) LIMIT ?"
        )
        with self._change("forget") as db:
            numbers = [number for (number,) in db.execute(old, (before, most))]
            for table in ("saga_log", "saga_signals", "saga_locks", "sagas"):
                db.executemany(
                    f"DELETE FROM {table} WHERE number = ?",  # noqa: S608 - one of these
                    [(number,) for number in numbers],
                )
        return len(numbers)

    @contextlib.contextmanager
    def looking(self) -> Iterator[Change]:
        """As `Ledger.looking`."""
        with self._look() as db:
            yield writes.SqliteChange(db)

    @contextlib.contextmanager
    def changing(self, point: str) -> Iterator[Change]:
        """As `Ledger.changing`."""
        with self._change(point) as db:
            yield writes.SqliteChange(db)

    def close(self) -> None:
        """As `Ledger.close`."""
        with self._group.lock:
            self._db.close()
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    def _one(self, column: str, value: Any) -> SagaRow | None:
        with self._look() as db:
            row = db.execute(
                f"SELECT {COLUMNS} FROM sagas WHERE {column} = ?",  # noqa: S608 - one of two
                (value,),
            ).fetchone()
        return None if row is None else SagaRow(*row)

    @contextlib.contextmanager
    def _look(self) -> Iterator[sqlite3.Connection]:
        with self._group.lock:
            try:
                yield self._db
            except sqlite3.Error as error:
                raise translated(error, self.path) from error

    @contextlib.contextmanager
    def _change(self, point: str = "") -> Iterator[sqlite3.Connection]:
        db = self._db
        with self._group.lock:
            try:
                db.execute("BEGIN IMMEDIATE")
                yield db
                if point:
                    _POINTS.before(point)
                db.execute("COMMIT")
            except sqlite3.Error as error:
                raise translated(error, self.path) from error
            finally:
                if db.in_transaction:
                    db.rollback()
        if point:
            _POINTS.after(point)

    def _write_all(self, batch: Sequence[Write]) -> None:
        """One transaction for all of *batch*; the lock is held."""
        db = self._db
        try:
            first = batch[0]
            if len(batch) == 1 and isinstance(first, Advance) and writes.is_one_row(first):
                _POINTS.before_all(batch)
                writes.log_rows_of(db, first)
            else:
                db.execute("BEGIN IMMEDIATE")
                for write in batch:
                    if isinstance(write, Begin):
                        writes.begin(db, write)
                    else:
                        writes.advance(db, write)
                _POINTS.before_all(batch)
                db.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                db.rollback()
            if isinstance(error, sqlite3.Error):
                raise translated(error, self.path) from error
            raise
        _POINTS.after_all(batch)
