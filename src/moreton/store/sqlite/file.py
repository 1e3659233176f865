"""One store file: opened by one process, read once, then only written."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from moreton.store.core.changes import Change
from moreton.store.core.fold import BrokenLog, fold
from moreton.store.core.state import State
from moreton.store.errors import (
    NotAStore,
    StoreCorrupt,
    StoreError,
    StoreFailing,
    StoreFileGone,
    StoreFull,
    StoreInUse,
    StoreNewer,
    StoreNotOpened,
    StoreReadOnly,
)
from moreton.store.sqlite.schema import (
    APPLICATION_ID,
    SCHEMA,
    SCHEMA_VERSION,
    SELECT_EVENTS,
    BadRow,
    Statement,
    read_event,
    read_lease,
    statements,
)

# Somebody else's tool may hold the file for a moment, a backup for example.
BUSY_SECONDS_MAX = 5.0
# The log before its pages are moved into the main file: SQLite's own default of 1,000 pages.
CHECKPOINT_BYTES = 1000 * 4096
# What one commit adds to the log beside its values: about three pages.
_COMMIT_BYTES = 3 * 4096

_SQLITE_HEADER = b"SQLite format 3\0"
# The smallest page, thus the smallest database.
_SQLITE_BYTES_MIN = 512

_PRAGMAS = (
    # Each commit is synchronised; fullfsync matters on macOS alone, where fsync does not reach
    # the platter.
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",
    "PRAGMA checkpoint_fullfsync = ON",
    # Checkpoints run after the answer, not within a commit: `checkpoint_if_due`.
    "PRAGMA wal_autocheckpoint = 0",
    "PRAGMA cell_size_check = ON",
    "PRAGMA temp_store = MEMORY",
)

# What SQLite's result codes (the low byte) mean for a store; any other is a failing disk.
_ERRORS: dict[int, Callable[..., StoreError]] = {
    sqlite3.SQLITE_FULL: StoreFull,
    sqlite3.SQLITE_READONLY: StoreReadOnly,
    sqlite3.SQLITE_PERM: StoreReadOnly,
    sqlite3.SQLITE_BUSY: partial(StoreInUse, holder="another program"),
    sqlite3.SQLITE_LOCKED: partial(StoreInUse, holder="another program"),
}
_ERRORS_WITH_REASON: dict[int, Callable[..., StoreError]] = {
    sqlite3.SQLITE_NOTADB: NotAStore,
    sqlite3.SQLITE_CORRUPT: StoreCorrupt,
    sqlite3.SQLITE_CONSTRAINT: StoreCorrupt,
    sqlite3.SQLITE_ERROR: StoreCorrupt,
    sqlite3.SQLITE_CANTOPEN: StoreNotOpened,
}


class StoreFile:
    """An open store file, locked against other processes until `close`."""

    def __init__(self, path: Path) -> None:
        # The lock is beside the real file, so that a link to it finds the same lock.
        self.path = Path(os.path.realpath(path))
        self.commits = 0
        self._log_bytes = 0
        self._lock = _lock(self.path)
        try:
            self._db, self._identity = self._open()
        except BaseException:
            os.close(self._lock)
            raise

    def load(self) -> State:
        """Everything in the file. Raises `StoreCorrupt` rather than give a part."""
        try:
            (compacted,) = self._db.execute("SELECT revision FROM compaction").fetchone()
            leases = [read_lease(row) for row in self._db.execute("SELECT * FROM leases")]
            records = map(read_event, self._db.execute(SELECT_EVENTS))
            return fold(records, leases=leases, compact_revision=compacted)
        except (BadRow, BrokenLog) as error:
            raise StoreCorrupt(path=self.path, reason=str(error)) from error
        except (TypeError, ValueError) as error:
            raise StoreCorrupt(path=self.path, reason="a record is malformed") from error
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def write(self, changes: Iterable[Change]) -> None:
        """Make *changes* durable together, or raise and leave the file as it was."""
        work = statements(changes)
        if not work:
            return
        self._check_in_place()
        try:
            self._run(work)
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._db.rollback()
            raise self._translated(error) from error
        self.commits += 1
        values = (value for _, row in work for value in row if isinstance(value, bytes | str))
        self._log_bytes += _COMMIT_BYTES + sum(map(len, values))

    def checkpoint_if_due(self, *, idle: bool) -> None:
        """Move the log into the main file when it is long; sooner when nobody waits."""
        if self._log_bytes < CHECKPOINT_BYTES * (1 if idle else 4):
            return
        self._log_bytes = 0
        # The log alone is enough: when this fails, it grows, and the next time may succeed.
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def size(self) -> int:
        """The bytes of the file and its log."""
        return sum(map(_size, (self.path, Path(f"{self.path}-wal"))))

    def close(self) -> None:
        """Let go of the file. May be called again."""
        if self._lock < 0:
            return
        try:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
        finally:
            os.close(self._lock)
            self._lock = -1

    def _open(self) -> tuple[sqlite3.Connection, tuple[int, int]]:
        _create(self.path)
        self._check_header()
        try:
            db = sqlite3.connect(
                self.path,
                timeout=BUSY_SECONDS_MAX,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
            )
        except sqlite3.Error as error:
            raise self._translated(error) from error
        try:
            self._prepare(db)
        except sqlite3.Error as error:
            db.close()
            raise self._translated(error) from error
        except BaseException:
            db.close()
            raise
        found = self.path.stat()
        return db, (found.st_dev, found.st_ino)

    def _check_header(self) -> None:
        """SQLite takes any file shorter than a header for an empty database of its own."""
        with self.path.open("rb") as file:
            found = file.read(_SQLITE_BYTES_MIN)
        if found and not found.startswith(_SQLITE_HEADER):
            raise NotAStore(path=self.path, reason="it is not an SQLite database")
        if 0 < len(found) < _SQLITE_BYTES_MIN:
            raise StoreCorrupt(path=self.path, reason=f"it was cut to {len(found)} bytes")

    def _prepare(self, db: sqlite3.Connection) -> None:
        """Look before touching: another program's file is left as it is."""
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        is_new = application == 0 and version == 0 and tables == 0
        if not is_new and application != APPLICATION_ID:
            raise NotAStore(path=self.path, reason="it is another program's SQLite database")
        if version > SCHEMA_VERSION:
            raise StoreNewer(path=self.path, found=version, supported=SCHEMA_VERSION)
        (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreNotOpened(path=self.path, reason="its file system allows no shared memory")
        for pragma in _PRAGMAS:
            db.execute(pragma)
        if is_new:
            db.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA:
                db.execute(statement)
            db.execute("COMMIT")
            _synchronise_folder(self.path)

    def _run(self, work: list[Statement]) -> None:
        if len(work) == 1:
            # Begin, insert and commit in one step, with one release of the global lock.
            self._db.execute(*work[0])
            return
        self._db.execute("BEGIN IMMEDIATE")
        for statement in work:
            self._db.execute(*statement)
        self._db.execute("COMMIT")

    def _check_in_place(self) -> None:
        try:
            found = self.path.stat()
        except OSError:
            raise StoreFileGone(path=self.path) from None
        if (found.st_dev, found.st_ino) != self._identity:
            raise StoreFileGone(path=self.path)

    def _translated(self, error: sqlite3.Error) -> StoreError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_IOERR and _is_full(self.path):
            return StoreFull(path=self.path)
        if code in _ERRORS:
            return _ERRORS[code](path=self.path)
        reason = f"{error} ({getattr(error, 'sqlite_errorname', 'no code')})"
        return _ERRORS_WITH_REASON.get(code, StoreFailing)(path=self.path, reason=reason)


def _lock(path: Path) -> int:
    lock = -1
    try:
        lock = os.open(f"{path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        os.close(lock)
        name = f"process {holder}" if holder else "another process"
        raise StoreInUse(path=path, holder=name) from None
    except OSError as error:
        if lock >= 0:
            os.close(lock)
        raise _os_error(error, path) from error
    return lock


def _create(path: Path) -> None:
    """Only its owner may read it: the store may hold what others must not see."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise _os_error(error, path) from error


def _os_error(error: OSError, path: Path) -> StoreError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StoreFull(path=path)
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return StoreReadOnly(path=path)
    if error.errno == errno.ENOENT:
        return StoreNotOpened(path=path, reason="its folder does not exist")
    return StoreNotOpened(path=path, reason=(error.strerror or "unknown reason").lower())


def _synchronise_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _is_full(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.statvfs(path.parent).f_bavail == 0
    return False


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0
