"""The SQLite file of a ledger: one process writes it, others may look and decide."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from pathlib import Path

from moreton.store.errors import (
    NotAStore,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreInUse,
    StoreNewer,
    StoreNotOpened,
    StoreReadOnly,
)

# "Moreton's sagas" cut to what SQLite's application_id holds, and the form that we can read.
APPLICATION_ID = int.from_bytes(b"MSag", "big")
SCHEMA_VERSION = 3
BUSY_SECONDS_MAX = 5.0

_SCHEMA = (
    """CREATE TABLE sagas (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE CHECK (id <> ''),
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        status TEXT NOT NULL,
        priority INTEGER NOT NULL,
        due INTEGER,
        owner TEXT,
        epoch INTEGER NOT NULL,
        takeovers INTEGER NOT NULL DEFAULT 0,
        seen INTEGER NOT NULL DEFAULT 0,
        parent INTEGER,
        input TEXT NOT NULL,
        reason TEXT NOT NULL,
        started INTEGER NOT NULL,
        ended INTEGER
    )""",
    "CREATE INDEX sagas_ready ON sagas (priority DESC, number) WHERE due = 0",
    "CREATE INDEX sagas_due ON sagas (due) WHERE due > 0",
    "CREATE INDEX sagas_parked ON sagas (number) WHERE status = 'parked'",
    """CREATE TABLE saga_log (
        number INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        at INTEGER NOT NULL,
        kind TEXT NOT NULL,
        step TEXT NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (number, seq)
    ) WITHOUT ROWID""",
    """CREATE TABLE saga_signals (
        number INTEGER NOT NULL,
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (number, name)
    ) WITHOUT ROWID""",
    """CREATE TABLE saga_locks (
        key TEXT NOT NULL,
        number INTEGER NOT NULL,
        PRIMARY KEY (key, number)
    ) WITHOUT ROWID""",
    "CREATE INDEX saga_locks_of ON saga_locks (number)",
    """CREATE TABLE saga_definitions (
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        fingerprint TEXT NOT NULL,
        shape TEXT NOT NULL,
        PRIMARY KEY (name, version)
    ) WITHOUT ROWID""",
    f"PRAGMA application_id = {APPLICATION_ID}",
)
# What each version has that the one before had not.
_SINCE = {
    2: (
        """CREATE TABLE saga_schedules (
            name TEXT PRIMARY KEY,
            saga TEXT NOT NULL,
            version INTEGER NOT NULL,
            rule TEXT NOT NULL,
            due INTEGER NOT NULL,
            paused INTEGER NOT NULL,
            starts INTEGER NOT NULL,
            last INTEGER,
            last_id TEXT NOT NULL,
            note TEXT NOT NULL
        ) WITHOUT ROWID""",
    ),
    3: (
        "ALTER TABLE sagas ADD COLUMN queue TEXT NOT NULL DEFAULT ''",
        "DROP INDEX sagas_ready",
        "CREATE INDEX sagas_ready ON sagas (queue, priority DESC, number) WHERE due = 0",
        """CREATE INDEX sagas_again ON sagas (queue, priority DESC, number)
            WHERE due = 0 AND queue <> '' AND epoch > 1""",
        """CREATE INDEX sagas_running ON sagas (queue, owner)
            WHERE queue <> '' AND status = 'running'""",
        """CREATE TABLE saga_queues (
            name TEXT PRIMARY KEY,
            at_once INTEGER,
            per_engine INTEGER,
            starts INTEGER,
            period INTEGER NOT NULL,
            paused INTEGER NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE saga_queue_starts (
            queue TEXT NOT NULL,
            at INTEGER NOT NULL,
            number INTEGER NOT NULL,
            PRIMARY KEY (queue, at, number)
        ) WITHOUT ROWID""",
    ),
}

_PRAGMAS = (
    # Each commit is synchronised; fullfsync matters on macOS alone.
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -16000",
)


def open_file(path: Path, *, create: bool) -> sqlite3.Connection:
    """The file's connection, for use by any thread, one at a time. Raises a `StoreError`."""
    if not create and not path.exists():
        raise StoreNotOpened(path=path, reason="there is no such file")
    try:
        if create:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(
            path,
            timeout=BUSY_SECONDS_MAX,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
    except OSError as error:
        raise StoreNotOpened(path=path, reason=(error.strerror or "no reason").lower()) from error
    except sqlite3.Error as error:
        raise translated(error, path) from error
    try:
        _prepare(db, path, create=create)
    except BaseException as error:
        db.close()
        if isinstance(error, sqlite3.Error):
            raise translated(error, path) from error
        raise
    return db


def lock_file(path: Path) -> int:
    """Keep other engines out until the descriptor is closed. Raises `StoreInUse`."""
    try:
        lock = os.open(f"{path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreNotOpened(path=path, reason=(error.strerror or "no reason").lower()) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        os.close(lock)
        raise StoreInUse(path=path, holder=f"process {holder or 'unknown'}") from None
    with contextlib.suppress(OSError):  # a full disk: the number is for people only
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    return lock


def translated(error: sqlite3.Error, path: Path) -> StoreError:
    """*error* as what it means for the file."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(path)):
        return StoreFull(path=path)
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}:
        return StoreReadOnly(path=path)
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StoreInUse(path=path, holder="another program")
    reason = f"{error} ({getattr(error, 'sqlite_errorname', 'no code')})"
    if code == sqlite3.SQLITE_NOTADB:
        return NotAStore(path=path, reason=reason)
    if code == sqlite3.SQLITE_CANTOPEN:
        return StoreNotOpened(path=path, reason=reason)
    return StoreCorrupt(path=path, reason=reason)


def _prepare(db: sqlite3.Connection, path: Path, *, create: bool) -> None:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    is_new = application == 0 and version == 0 and tables == 0
    if not is_new and application != APPLICATION_ID:
        raise NotAStore(path=path, reason="it is another program's SQLite database")
    if version > SCHEMA_VERSION:
        raise StoreNewer(path=path, found=version, supported=SCHEMA_VERSION)
    if is_new and not create:
        raise NotAStore(path=path, reason="it is empty")
    db.execute("PRAGMA journal_mode = WAL")
    for pragma in _PRAGMAS:
        db.execute(pragma)
    _bring_up(db, is_new=is_new)
    if is_new:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _bring_up(db: sqlite3.Connection, *, is_new: bool) -> None:
    """Make what the file lacks; another program may do so at once."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == SCHEMA_VERSION:
        return
    db.execute("BEGIN IMMEDIATE")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    statements = list(_SCHEMA) if is_new and version == 0 else []
    for since in range(max(2, version + 1), SCHEMA_VERSION + 1):
        statements += _SINCE[since]
    for statement in statements:
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    db.execute("COMMIT")


def _is_full(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.statvfs(path.parent).f_bavail == 0
    return False
