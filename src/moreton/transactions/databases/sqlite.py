"""An SQLite file as a database of records."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from threading import RLock

from moreton.kernel.errors import MoretonError
from moreton.transactions.databases.database import Row
from moreton.transactions.databases.errors import (
    DatabaseNotOpened,
    DatabaseRefused,
    DatabaseUnavailable,
)

# Other processes may write to the same file.
BUSY_SECONDS_MAX = 10.0
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL}
_NOT_OPENED = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}
_PRAGMAS = (
    # A commit is on disk; fullfsync matters on macOS alone.
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",
    "PRAGMA foreign_keys = ON",
)


class SqliteDatabase:
    """One connection that threads take turns with; other processes may use the file, too."""

    skip_locked = ""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = RLock()
        self._connection = connect(path)
        try:
            (mode,) = self._connection.execute("PRAGMA journal_mode = WAL").fetchone()
            for pragma in _PRAGMAS:
                self._connection.execute(pragma)
            _check_mode(mode, path)
        except sqlite3.Error as error:
            self._connection.close()
            raise translated(error, path) from error
        except BaseException:
            self._connection.close()
            raise

    def run(self, sql: str, *values: object) -> int:
        """As `Session.run`."""
        with self._lock, self._translating():
            return self._connection.execute(sql, values).rowcount

    def rows(self, sql: str, *values: object) -> list[Row]:
        """As `Session.rows`."""
        with self._lock, self._translating():
            return self._connection.execute(sql, values).fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[SqliteDatabase]:
        """As `Database.transaction`."""
        with self._lock:
            with self._translating():
                self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self
                with self._translating():
                    self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """As `Database.close`."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise translated(error, self.path) from error


def connect(path: Path, kind: type[sqlite3.Connection] = sqlite3.Connection) -> sqlite3.Connection:
    """A connection to *path*, which is made when it is not there; each statement commits itself."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise DatabaseNotOpened(database=str(path), reason=reason) from error
    try:
        return sqlite3.connect(
            path,
            timeout=BUSY_SECONDS_MAX,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
            factory=kind,
        )
    except sqlite3.Error as error:
        raise translated(error, path) from error


def _check_mode(mode: str, path: Path) -> None:
    if mode != "wal":
        raise DatabaseNotOpened(
            database=str(path), reason="its file system allows no shared memory"
        )


def translated(error: sqlite3.Error, path: Path) -> MoretonError:
    """What *error* means for who uses *path*."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    reason = f"{error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})"
    if code in _NOT_OPENED:
        return DatabaseNotOpened(database=str(path), reason=reason)
    if code in _BUSY:
        return DatabaseUnavailable(database=str(path), reason=reason)
    return DatabaseRefused(database=str(path), reason=reason)
