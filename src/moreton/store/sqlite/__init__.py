"""A store in one SQLite file: the default of one machine.

One thread writes, many writers share one commit, and a write is answered after it: a process
killed at any moment loses nothing that it had answered.
"""

from __future__ import annotations

from pathlib import Path

from moreton.kernel.time import Clock, SystemClock
from moreton.store.host import LocalStore
from moreton.store.sqlite.file import StoreFile
from moreton.store.sqlite.journal import SqliteJournal

__all__ = ["open_sqlite_store"]


def open_sqlite_store(path: Path, *, clock: Clock | None = None) -> LocalStore:
    """The store in the file at *path*, made if there is none. Call it inside a running event loop.

    Reads the whole file, about 10 ms per 1,000 records. Raises `StoreInUse`, `StoreNewer`,
    `NotAStore`, `StoreCorrupt`, `StoreReadOnly`, `StoreFull`, `StoreNotOpened`.
    """
    file = StoreFile(path)
    try:
        return LocalStore(file.load(), SqliteJournal(file), clock=clock or SystemClock())
    except BaseException:
        file.close()
        raise
