"""A PostgreSQL database as a participant, by `PREPARE TRANSACTION`.

What it prepared survives its restarts, keeps its locks, and keeps `VACUUM` from removing old rows
until it is ended. PostgreSQL cannot prepare what has used temporary tables, `LISTEN`, `NOTIFY`,
cursors `WITH HOLD` or exported snapshots. Version 13 or later.

Source: PostgreSQL's documentation of PREPARE TRANSACTION and pg_prepared_xacts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from moreton.kernel.errors import MoretonError
from moreton.transactions.databases.errors import DriverMissing
from moreton.transactions.databases.postgres import Connection, Connections, translated
from moreton.transactions.twophase.core.doubts import Prepared
from moreton.transactions.twophase.core.names import check_branch
from moreton.transactions.twophase.errors import PreparedDisabled, PreparedFull, PrepareRefused
from moreton.transactions.twophase.participant import Fate

try:
    import psycopg
    from psycopg import sql
except ImportError as missing:
    raise DriverMissing from missing

_UNKNOWN_GID = "42704"
_TOO_MANY = "53400"
_DONE = "PREPARE TRANSACTION"
_FATES = {"committed": Fate.COMMITTED, "aborted": Fate.ABORTED, "in progress": Fate.PREPARED}


class PostgresParticipant:
    """The database at *conninfo*; its server needs `max_prepared_transactions` above 0.

    *isolation* is the level of its transactions, where it is not to be the database's own.
    Checked at the first use: raises `PreparedDisabled` where there is no room.
    """

    def __init__(self, name: str, conninfo: str, *, isolation: str | None = None) -> None:
        check_branch(name)
        self.name = name
        self._connections = Connections(conninfo)
        self._begin = "BEGIN" if isolation is None else f"BEGIN ISOLATION LEVEL {_level(isolation)}"
        self._checked = False

    def begin(self, gid: str) -> PostgresBranch:
        """As `Participant.begin`."""
        connection = self._connections.take()
        try:
            if not self._checked:
                self._check(connection)
            connection.execute(self._begin.encode())
        except psycopg.Error as error:
            connection.close()
            raise translated(error, self._connections.name) from error
        except BaseException:
            connection.close()
            raise
        return PostgresBranch(self, connection, gid)

    def prepared(self) -> list[Prepared]:
        """As `Participant.prepared`, of this database alone."""
        with self._borrowed() as connection:
            rows = connection.execute(
                "SELECT gid, extract(epoch FROM clock_timestamp() - prepared)::float8, "
                "owner::text FROM pg_prepared_xacts WHERE database = current_database() "
                "ORDER BY prepared"
            ).fetchall()
        return [
            Prepared(self.name, gid, timedelta(seconds=max(0.0, age)), owner)
            for gid, age, owner in rows
        ]

    def commit(self, gid: str) -> bool:
        """As `Participant.commit`."""
        return self._finish("COMMIT PREPARED", gid)

    def rollback(self, gid: str) -> bool:
        """As `Participant.rollback`."""
        return self._finish("ROLLBACK PREPARED", gid)

    def fates(self, marks: Mapping[str, str]) -> Mapping[str, Fate]:
        """As `Participant.fates`: the server knows for as long as it keeps its commit log."""
        found = dict.fromkeys(marks, Fate.UNKNOWN)
        with self._borrowed() as connection:
            for gid, mark in marks.items():
                # A transaction too old is no error; one of the future is another server's.
                with contextlib.suppress(psycopg.errors.InvalidParameterValue):
                    (state,) = connection.execute(
                        "SELECT pg_xact_status(%s::xid8)", (mark,)
                    ).fetchone() or (None,)
                    found[gid] = _FATES.get(state or "", Fate.UNKNOWN)
        return found

    def close(self) -> None:
        """As `Participant.close`."""
        self._connections.close()

    def give_back(self, connection: Connection) -> None:
        """A connection that nobody uses any more."""
        self._connections.give_back(connection)

    def translated(self, error: psycopg.Error) -> MoretonError:
        """What *error* means here."""
        if error.sqlstate == _TOO_MANY:
            return PreparedFull(participant=self.name, reason=_said(error))
        return translated(error, self._connections.name)

    def _check(self, connection: Connection) -> None:
        row = connection.execute("SHOW max_prepared_transactions").fetchone()
        if row is None or int(row[0]) == 0:
            raise PreparedDisabled(participant=self.name)
        self._checked = True

    def _finish(self, command: str, gid: str) -> bool:
        statement = sql.SQL(command + " {}").format(sql.Literal(gid))
        with self._borrowed() as connection:
            try:
                connection.execute(statement)
            except psycopg.Error as error:
                if error.sqlstate == _UNKNOWN_GID:
                    return False
                raise
        return True

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[Connection]:
        connection = self._connections.take()
        try:
            yield connection
        except psycopg.Error as error:
            raise self.translated(error) from error
        finally:
            self._connections.give_back(connection)


class PostgresBranch:
    """As `Branch`; *connection* is one of psycopg, which keeps its transaction open."""

    def __init__(self, home: PostgresParticipant, connection: Connection, gid: str) -> None:
        self._home = home
        self._connection: Connection | None = connection
        self._gid = gid
        self._mark = ""

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """What the work is done with."""
        assert self._connection is not None, "the work has ended"
        return self._connection

    def has_changes(self) -> bool:
        """As `Branch.has_changes`: a transaction that changes nothing gets no number."""
        status = self.connection.info.transaction_status
        if status != psycopg.pq.TransactionStatus.INTRANS:
            self.rollback()
            idle = status == psycopg.pq.TransactionStatus.IDLE
            raise PrepareRefused(
                participant=self._home.name,
                reason="the work ended it by itself: look what it left there"
                if idle
                else "a statement in it had failed",
            )
        try:
            row = self.connection.execute(
                "SELECT pg_current_xact_id_if_assigned()::text"
            ).fetchone()
        except psycopg.Error as error:
            self.rollback()
            raise self._home.translated(error) from error
        self._mark = row[0] if row is not None and row[0] is not None else ""
        return bool(self._mark)

    def prepare(self) -> str:
        """As `Branch.prepare`."""
        statement = sql.SQL("PREPARE TRANSACTION {}").format(sql.Literal(self._gid))
        try:
            done = self.connection.execute(statement).statusmessage
        except psycopg.Error as error:
            self.rollback()
            if error.sqlstate == "0A000":
                raise PrepareRefused(participant=self._home.name, reason=_said(error)) from error
            raise self._home.translated(error) from error
        self._end()
        if done != _DONE:
            # PostgreSQL answers so where a transaction has failed, or has ended before.
            raise PrepareRefused(
                participant=self._home.name,
                reason="its transaction had failed, or the work ended it by itself",
            )
        return self._mark

    def commit(self) -> None:
        """As `Branch.commit`."""
        try:
            done = self.connection.execute("COMMIT").statusmessage
        except psycopg.Error as error:
            self.rollback()
            raise self._home.translated(error) from error
        self._end()
        if done != "COMMIT":
            raise PrepareRefused(participant=self._home.name, reason="its transaction had failed")

    def rollback(self) -> None:
        """As `Branch.rollback`."""
        if self._connection is None:
            return
        with contextlib.suppress(psycopg.Error):
            if self._connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                self._connection.execute("ROLLBACK")
        self._end()

    def _end(self) -> None:
        assert self._connection is not None
        self._home.give_back(self._connection)
        self._connection = None


def _level(isolation: str) -> str:
    level = isolation.upper()
    if level not in {"READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"}:
        raise ValueError(
            f"isolation is {isolation!r}: give 'read committed', 'repeatable read' or "
            "'serializable'"
        )
    return level


def _said(error: psycopg.Error) -> str:
    return " ".join(str(error).split())
