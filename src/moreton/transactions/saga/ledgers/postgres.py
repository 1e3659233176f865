"""Sagas in a PostgreSQL database, worked on by as many processes as there are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any

import psycopg

from moreton.transactions.saga.core.events import Status
from moreton.transactions.saga.core.rows import LogRow
from moreton.transactions.saga.ledgers import postgres_sql as sql
from moreton.transactions.saga.ledgers.group import GroupCommit
from moreton.transactions.saga.ledgers.points import Points
from moreton.transactions.saga.ledgers.port import COLUMNS, Change, SagaRow, Stored, Write
from moreton.transactions.saga.ledgers.postgres_link import Link
from moreton.transactions.saga.ledgers.postgres_writes import (
    PostgresChange,
    is_plain,
    write_one,
    write_plain,
)

POINTS = Points("saga.postgres", "renew")
_Db = psycopg.Connection[Any]


class PostgresLedger:
    """The database at *url*, its tables made if they are not there."""

    poll_seconds = 0.2

    def __init__(self, url: str, *, lease_micros: int) -> None:
        self.lease_micros = lease_micros
        self._group = GroupCommit[Write](self._write_all)
        self.commit = self._group.commit
        self.commit_all = self._group.commit_all
        self._writes = Link(url, self._group.lock)
        self._reads = Link(url, Lock())
        self.where = self._reads.where
        with self._reads.held() as db, db.transaction():
            db.execute("SELECT pg_advisory_xact_lock(%s)", (sql.SETUP_LOCK,))
            (found,) = _one(db, "SELECT to_regclass('moreton_saga_queues') IS NOT NULL")
            if not found:
                db.execute(sql.SCHEMA.encode(), prepare=False)

    def now_nanos(self) -> int:
        """As `Ledger.now_nanos`."""
        with self._reads.held() as db:
            return int(_one(db, f"SELECT {sql.NOW}")[0]) * 1000

    def claim(
        self, owner: str, names: Sequence[tuple[str, int]], most: int, now: int
    ) -> list[SagaRow]:
        """As `Ledger.claim`; by the calendar of the database, not by *now*."""
        del now
        known = [f"{name}@{version}" for name, version in names]
        with self._reads.held() as db:
            late, ready = _one(db, sql.IS_DUE)
            if not late and not ready:
                return []
            with db.transaction():
                if late:
                    db.execute(sql.RIPEN)
                found = db.execute(sql.CLAIM, (self.lease_micros, owner, known, most)).fetchall()
                POINTS.before("claim")
            POINTS.after("claim")
        rows = [SagaRow(*row) for row in found]
        return sorted(rows, key=lambda row: (-row.priority, row.number))

    def renew(self, owner: str, numbers: Sequence[int]) -> None:
        """As `Ledger.renew`."""
        with self._reads.held() as db:
            POINTS.before("renew")
            db.execute(
                f"UPDATE moreton_sagas SET due = {sql.NOW} + %s"  # noqa: S608 - our own words
                " WHERE number = ANY(%s) AND owner = %s AND due > 0",
                (self.lease_micros, list(numbers), owner),
            )
            POINTS.after("renew")

    def release(self, owner: str, claims: Sequence[tuple[int, int]]) -> None:
        """As `Ledger.release`."""
        with self._reads.held() as db:
            POINTS.before("release")
            db.execute(
                "UPDATE moreton_sagas s SET due = 0"
                " FROM unnest(%s::bigint[], %s::bigint[]) AS x(number, epoch)"
                " WHERE s.number = x.number AND s.epoch = x.epoch AND s.owner = %s",
                ([number for number, _ in claims], [epoch for _, epoch in claims], owner),
            )
            POINTS.after("release")

    def took_over(self, number: int, epoch: int, *, times: int, seen: int) -> None:
        """As `Ledger.took_over`."""
        with self._reads.held() as db:
            POINTS.before("took-over")
            db.execute(
                "UPDATE moreton_sagas SET takeovers = %s, seen = %s WHERE number = %s"
                " AND epoch = %s",
                (times, seen, number, epoch),
            )
            POINTS.after("took-over")

    def log(self, number: int) -> list[LogRow]:
        """As `Ledger.log`."""
        return self.logs([number]).get(number, [])

    def logs(self, numbers: Sequence[int]) -> dict[int, list[LogRow]]:
        """As `Ledger.logs`."""
        with self._reads.held() as db:
            rows = db.execute(
                "SELECT number, at, kind, step, body FROM moreton_saga_log"
                " WHERE number = ANY(%s) ORDER BY number, seq",
                (list(numbers),),
            ).fetchall()
        found: dict[int, list[LogRow]] = {}
        for number, *row in rows:
            found.setdefault(number, []).append(LogRow(*row))
        return found

    def find(self, saga_id: str) -> SagaRow | None:
        """As `Ledger.find`."""
        return self._saga("id", saga_id)

    def at(self, number: int) -> SagaRow | None:
        """As `Ledger.at`."""
        return self._saga("number", number)

    def listed(
        self, *, status: Status | None, name: str | None, most: int, queue: str | None = None
    ) -> list[SagaRow]:
        """As `Ledger.listed`."""
        with self._reads.held() as db:
            wanted = {"status": status and str(status), "name": name, "queue": queue, "most": most}
            return [SagaRow(*row) for row in db.execute(sql.LISTED, wanted).fetchall()]

    def interject(
        self, row: SagaRow, seq: int, rows: Sequence[LogRow], status: Status, due: int | None
    ) -> bool:
        """As `Ledger.interject`."""
        written = False
        with self._reads.held() as db:
            with db.transaction():
                done = db.execute(
                    sql.INTERJECT, (str(status), due, row.number, row.epoch, row.number, seq)
                )
                if done.rowcount != 1:
                    return False
                for offset, one in enumerate(rows):
                    values = (row.number, seq + offset, *one, row.number, row.epoch + 1)
                    if db.execute(sql.LOG_ONE, values).rowcount != 1:
                        raise psycopg.Rollback  # a worker wrote that row meanwhile: look again
                POINTS.before("interject")
                written = True
            POINTS.after("interject")
        return written

    def signal(self, number: int, name: str, value: str) -> bool:
        """As `Ledger.signal`."""
        with self._reads.held() as db:
            with db.transaction():
                # So that a worker which puts the saga down sees the signal, or we see it put down.
                db.execute(sql.LOCK_ROW, (number,))
                is_new = db.execute(sql.SIGNAL, (number, name, value)).rowcount == 1
                db.execute(sql.WAKE, (number,))
                POINTS.before("signal")
            POINTS.after("signal")
        return is_new

    def signalled(self, number: int, name: str) -> str | None:
        """As `Ledger.signalled`."""
        with self._reads.held() as db:
            row = db.execute(
                "SELECT value FROM moreton_saga_signals WHERE number = %s AND name = %s",
                (number, name),
            ).fetchone()
        return None if row is None else str(row[0])

    def definitions(self) -> list[Stored]:
        """As `Ledger.definitions`."""
        with self._reads.held() as db:
            return [Stored(*row) for row in db.execute(sql.DEFINITIONS).fetchall()]

    def define(self, stored: Stored) -> None:
        """As `Ledger.define`."""
        with self._reads.held() as db:
            POINTS.before("define")
            db.execute(
                "INSERT INTO moreton_saga_definitions VALUES (%s, %s, %s, %s)"
                " ON CONFLICT (name, version) DO UPDATE SET fingerprint = excluded.fingerprint,"
                " shape = excluded.shape",
                (stored.name, stored.version, stored.fingerprint, stored.shape),
            )
            POINTS.after("define")

    def pending(self, most: int) -> int:
        """As `Ledger.pending`."""
        ready = "SELECT count(*) FROM (SELECT 1 FROM moreton_sagas WHERE due = 0 LIMIT %s) x"
        with self._reads.held() as db:
            return int(_one(db, ready, most)[0])

    def counts(self) -> dict[str, int]:
        """As `Ledger.counts`."""
        with self._reads.held() as db:
            rows = db.execute("SELECT status, count(*) FROM moreton_sagas GROUP BY status")
            return dict(rows.fetchall())

    def forget(self, before: int, most: int) -> int:
        """As `Ledger.forget`."""
        with self._reads.held() as db:
            with db.transaction():
                rows = db.execute(
                    "DELETE FROM moreton_sagas WHERE number IN (SELECT number FROM moreton_sagas o"
                    " WHERE ended < %s AND NOT EXISTS (SELECT 1 FROM moreton_sagas p"
                    " WHERE p.number = o.parent) LIMIT %s FOR UPDATE SKIP LOCKED) RETURNING number",
                    (before, most),
                ).fetchall()
                numbers = [number for (number,) in rows]
                for table in ("moreton_saga_log", "moreton_saga_signals", "moreton_saga_locks"):
                    db.execute(f"DELETE FROM {table} WHERE number = ANY(%s)", (numbers,))  # noqa: S608
                POINTS.before("forget")
            POINTS.after("forget")
        return len(numbers)

    @contextlib.contextmanager
    def looking(self) -> Iterator[Change]:
        """As `Ledger.looking`."""
        with self._reads.held() as db:
            yield PostgresChange(db)

    @contextlib.contextmanager
    def changing(self, point: str) -> Iterator[Change]:
        """As `Ledger.changing`."""
        with self._reads.held() as db:
            with db.transaction():
                yield PostgresChange(db)
                POINTS.before(point)
            POINTS.after(point)

    def close(self) -> None:
        """As `Ledger.close`."""
        self._writes.close()
        self._reads.close()

    def _saga(self, column: str, value: Any) -> SagaRow | None:
        with self._reads.held() as db:
            found = db.execute(
                f"SELECT {COLUMNS} FROM moreton_sagas WHERE {column} = %s",  # noqa: S608
                (value,),
            ).fetchone()
        return None if found is None else SagaRow(*found)

    def _write_all(self, batch: Sequence[Write]) -> None:
        """Plain writes in one statement; those that look at other rows each in a transaction."""
        plain = [write for write in batch if is_plain(write)]
        with self._writes.taken() as db:
            if plain:
                POINTS.before_all(plain)
                write_plain(db, plain)
                POINTS.after_all(plain)
            for write in batch:
                if not is_plain(write):
                    with db.transaction():
                        write_one(db, write)
                        POINTS.before_all([write])
                    POINTS.after_all([write])


def _one(db: _Db, statement: str, *values: object) -> tuple[Any, ...]:
    row = db.execute(statement.encode(), values or None).fetchone()
    assert row is not None
    found: tuple[Any, ...] = row
    return found
