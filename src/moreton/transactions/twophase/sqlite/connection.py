"""The connection that the work of a participant is done with: it cannot end its transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from moreton.transactions.databases.sqlite import connect
from moreton.transactions.twophase.sqlite.schema import OURS, Table, note_triggers, tables

SAVEPOINT = "moreton_work"
_PRAGMAS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",
    # Rows that REPLACE removes fire triggers only so, and have to be noted.
    "PRAGMA recursive_triggers = ON",
    "CREATE TEMP TABLE moreton_touched (tbl TEXT NOT NULL, place TEXT NOT NULL)",
    # Has a row while the work's transaction is there: a statement that fails may roll it back.
    "CREATE TEMP TABLE moreton_open (one INTEGER NOT NULL)",
)
_WRITES = {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}
_SCHEMA_CHANGES = {
    sqlite3.SQLITE_ALTER_TABLE, sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_CREATE_TABLE,
    sqlite3.SQLITE_CREATE_TRIGGER, sqlite3.SQLITE_CREATE_VIEW, sqlite3.SQLITE_CREATE_VTABLE,
    sqlite3.SQLITE_DROP_INDEX, sqlite3.SQLITE_DROP_TABLE, sqlite3.SQLITE_DROP_TRIGGER,
    sqlite3.SQLITE_DROP_VIEW, sqlite3.SQLITE_DROP_VTABLE, sqlite3.SQLITE_REINDEX,
}  # fmt: skip
_SCHEMA_WHY = "the schema cannot change: do that in a transaction of its own"
_ATTACH_WHY = "no file can be attached: make it a participant of its own"
_NEVER = dict.fromkeys(_SCHEMA_CHANGES, _SCHEMA_WHY) | {
    sqlite3.SQLITE_ATTACH: _ATTACH_WHY,
    sqlite3.SQLITE_DETACH: _ATTACH_WHY,
}
_SETTINGS = {
    "defer_foreign_keys", "foreign_keys", "journal_mode", "recursive_triggers", "synchronous",
    "user_version", "application_id", "writable_schema",
}  # fmt: skip


class WorkConnection(sqlite3.Connection):
    """A connection of `sqlite3`; says why it refuses what a two-phase commit cannot carry."""

    why = ""
    tables: dict[str, Table]
    barred: frozenset[str]
    schema_version = 0

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """As `sqlite3.Connection.execute`."""
        try:
            return super().execute(*arguments)
        except sqlite3.DatabaseError as error:
            raise self._explained(error) from None

    def executemany(self, sql: str, values: Iterable[Any], /) -> sqlite3.Cursor:
        """As `sqlite3.Connection.executemany`."""
        try:
            return super().executemany(sql, values)
        except sqlite3.DatabaseError as error:
            raise self._explained(error) from None

    def commit(self) -> None:
        """Refused within the work."""
        try:
            super().commit()
        except sqlite3.DatabaseError as error:
            raise self._explained(error) from None

    def rollback(self) -> None:
        """Refused within the work."""
        try:
            super().rollback()
        except sqlite3.DatabaseError as error:
            raise self._explained(error) from None

    def guard(self) -> None:
        """From now on refuse what would end the transaction, or what cannot be noted."""
        self.why = ""
        self.set_authorizer(self._judge)

    def unguard(self) -> None:
        """Allow everything again."""
        self.set_authorizer(None)

    def _explained(self, error: sqlite3.DatabaseError) -> sqlite3.DatabaseError:
        if self.why and getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_AUTH:
            error.add_note(f"within a two-phase commit {self.why}")
        return error

    def _judge(self, action: int, first: str | None, second: str | None, *_: str | None) -> int:
        why = self._objection(action, first or "", second)
        if why:
            self.why = why
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK

    def _objection(self, action: int, first: str, second: str | None) -> str:
        if action == sqlite3.SQLITE_TRANSACTION:
            return f"{first} is not the work's to say: leave the block, or raise"
        if action == sqlite3.SQLITE_SAVEPOINT and second == SAVEPOINT:
            return f"the savepoint {SAVEPOINT} is not the work's"
        if action in _NEVER:
            return _NEVER[action]
        if action == sqlite3.SQLITE_PRAGMA and second is not None and first.lower() in _SETTINGS:
            return f"{first} cannot be set"
        if action in _WRITES and first in self.barred | OURS:
            what = "a virtual table" if first in self.barred else "what says what is prepared"
            return f"{first} cannot be written to: it is {what}"
        return ""


def open_work(path: Path, participant: str, *, foreign_keys: bool) -> WorkConnection:
    """A connection to *path* that notes which rows it touches."""
    connection = connect(path, WorkConnection)
    assert isinstance(connection, WorkConnection)
    try:
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        connection.schema_version = schema_version(connection)
        found, connection.barred = tables(connection, participant)
        connection.tables = {table.name: table for table in found}
        for table in found:
            for trigger in note_triggers(table):
                connection.execute(trigger)
    except BaseException:
        connection.close()
        raise
    return connection


def schema_version(connection: sqlite3.Connection) -> int:
    """What SQLite counts changes of the schema by."""
    (version,) = connection.execute("PRAGMA main.schema_version").fetchone()
    return int(version)
