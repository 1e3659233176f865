"""An SQLite file; handlers get a `sqlite3.Connection`."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

from moreton.transactions.databases.sqlite import BUSY_SECONDS_MAX, translated
from moreton.transactions.outbox.errors import TransactionEnded
from moreton.transactions.outbox.places.place import Place, Work
from moreton.transactions.outbox.tables.dialect import SQLITE
from moreton.transactions.outbox.tables.script import Batch, Rows, Script, drive

T = TypeVar("T")
_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    # A commit is on disk; fullfsync matters on macOS alone.
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",
    "PRAGMA foreign_keys = ON",
)


class HeldConnection(sqlite3.Connection):
    """What handlers get: its transaction is not theirs to end."""

    def commit(self) -> None:
        """Refused."""
        raise TransactionEnded(by="commit()")

    def rollback(self) -> None:
        """Refused."""
        raise TransactionEnded(by="rollback()")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> Any:
        return False


class SqlitePlace(Place):
    """The file at *path*, made when it is not there."""

    dialect = SQLITE

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = f"SQLite file {path}"
        self._connection: sqlite3.Connection | None = None

    @contextlib.contextmanager
    def begin(self) -> Iterator[Work]:
        """As `Place.begin`."""
        try:
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self.close()
            raise translated(error, self.path) from error
        try:
            yield Work(connection, lambda batch: self._execute(connection, batch))
            _commit(connection)
        except sqlite3.OperationalError as error:
            _undo(connection)
            raise translated(error, self.path) from error
        except BaseException:
            _undo(connection)
            raise

    def ask(self, script: Script[T]) -> T:
        """As `Place.ask`."""
        try:
            connection = self._connected()
        except sqlite3.Error as error:
            raise translated(error, self.path) from error
        return drive(script, lambda batch: self._execute(connection, batch))

    def works(self) -> bool:
        """As `Place.works`."""
        try:
            with self.begin():
                return True
        except Exception:  # noqa: BLE001 - whatever it is, it does not work
            return False

    def close(self) -> None:
        """As `Place.close`."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _execute(self, connection: sqlite3.Connection, batch: Batch) -> list[Rows]:
        """Our own statements; what those of a handler raise is the handler's."""
        try:
            return execute(connection, batch)
        except sqlite3.Error as error:
            raise translated(error, self.path) from error

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(
                self.path,
                timeout=BUSY_SECONDS_MAX,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
                factory=HeldConnection,
            )
            try:
                for pragma in _PRAGMAS:
                    connection.execute(pragma)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection


def execute(connection: sqlite3.Connection, batch: Batch) -> list[Rows]:
    """The rows of each statement of *batch*."""
    return [connection.execute(each.sql, each.values).fetchall() for each in batch]


def _commit(connection: sqlite3.Connection) -> None:
    if not connection.in_transaction:
        raise TransactionEnded(by="a statement")
    connection.execute("COMMIT")


def _undo(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):
        connection.execute("ROLLBACK")
