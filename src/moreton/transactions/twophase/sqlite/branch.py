"""One transaction on an SQLite file: real until it is prepared, and real again afterwards."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from moreton.transactions.databases.sqlite import translated
from moreton.transactions.twophase.errors import PrepareRefused
from moreton.transactions.twophase.sqlite.changes import keep, read
from moreton.transactions.twophase.sqlite.connection import SAVEPOINT, WorkConnection

if TYPE_CHECKING:
    from moreton.transactions.twophase.sqlite.participant import SqliteParticipant


class SqliteBranch:
    """As `Branch`; *connection* is one of `sqlite3`."""

    def __init__(self, home: SqliteParticipant, connection: WorkConnection, gid: str) -> None:
        self._home = home
        self._connection: WorkConnection | None = connection
        self._gid = gid

    @property
    def connection(self) -> sqlite3.Connection:
        """What the work is done with."""
        assert self._connection is not None, "the work has ended"
        return self._connection

    def has_changes(self) -> bool:
        """As `Branch.has_changes`."""
        if not self.connection.in_transaction:
            self.rollback()
            raise PrepareRefused(
                participant=self._home.name, reason="a statement that failed had rolled it back"
            )
        (there,) = self.connection.execute(
            "SELECT EXISTS (SELECT 1 FROM temp.moreton_touched)"
        ).fetchone()
        return bool(there)

    def prepare(self) -> str:
        """As `Branch.prepare`: one commit, which writes the rows down and locks the file."""
        connection = self._connection
        assert connection is not None
        connection.unguard()
        try:
            self._check_references(connection)
            changes = read(connection, connection.tables)
            connection.execute(f"ROLLBACK TO {SAVEPOINT}")
            keep(connection, self._gid, changes)
            connection.execute(
                "INSERT INTO moreton_prepared (gid, at_ms) VALUES (?, ?)",
                (self._gid, self._home.now_ms()),
            )
            connection.execute("DELETE FROM temp.moreton_open")
            connection.execute("COMMIT -- moreton")
        except BaseException as error:
            self.rollback()
            if isinstance(error, sqlite3.Error):
                raise translated(error, self._home.path) from error
            raise
        self._end()
        return ""

    def commit(self) -> None:
        """As `Branch.commit`."""
        connection = self._connection
        assert connection is not None
        connection.unguard()
        try:
            connection.execute("DELETE FROM temp.moreton_touched")
            connection.execute("DELETE FROM temp.moreton_open")
            connection.execute("COMMIT -- moreton")
        except sqlite3.Error as error:
            self.rollback()
            raise translated(error, self._home.path) from error
        self._end()
        self._home.end_turn(self._gid)

    def rollback(self) -> None:
        """As `Branch.rollback`."""
        connection = self._connection
        if connection is None:
            return
        connection.unguard()
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK -- moreton")
        except sqlite3.Error:
            # It goes with the connection.
            self._connection = None
            connection.close()
        else:
            self._end()
        self._home.end_turn(self._gid)

    def _end(self) -> None:
        assert self._connection is not None
        self._home.give_back(self._connection)
        self._connection = None

    def _check_references(self, connection: WorkConnection) -> None:
        """SQLite looks at deferred references when it commits, which would be too late."""
        (enforced,) = connection.execute("PRAGMA foreign_keys").fetchone()
        if not enforced or not _defers(connection):
            return
        broken = connection.execute("PRAGMA main.foreign_key_check").fetchone()
        if broken is not None:
            raise PrepareRefused(
                participant=self._home.name,
                reason=f"a row of table {broken[0]!r} refers to none of {broken[2]!r}",
            )


def _defers(connection: WorkConnection) -> bool:
    (found,) = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM main.sqlite_master "
        "WHERE type = 'table' AND sql LIKE '%DEFERRABLE%INITIALLY%DEFERRED%')"
    ).fetchone()
    return bool(found)
