"""The thread that writes a store file.

One thread writes. Whatever is queued while a commit runs goes into the next one, so that many
writers share one wait for the disk; a write is answered after its commit, and a process killed at
any moment loses nothing that it had answered.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeAlias

from moreton.store.core.changes import Change, payload_bytes
from moreton.store.errors import StoreError, StoreFailing
from moreton.store.host import Journal
from moreton.store.sqlite.file import StoreFile

# What one commit carries at most.
GROUP_CHANGES_MAX = 1024
GROUP_BYTES_MAX = 8 * 1024 * 1024


# A group's number of failures before it was queued, and the change; or the end.
_Item: TypeAlias = tuple[int, Change] | None


class SqliteJournal(Journal):
    """The writer thread. What it says to the event loop arrives there in order.

    After a failure everything queued was built on what is now undone. The loop counts failures;
    the thread drops what was queued before it could know of the last.
    """

    def __init__(self, file: StoreFile) -> None:
        self._file = file
        self._queue: SimpleQueue[_Item] = SimpleQueue()
        self._failures = 0
        self._thread = Thread(target=self._write_until_end, name="moreton-store", daemon=True)

    def start(self, committed: Callable[[int], None], failed: Callable[[StoreError], None]) -> None:
        """As `Journal.start`."""
        self._loop = asyncio.get_running_loop()
        self._committed = committed
        self._failed = failed
        self._stopped = self._loop.create_future()
        self._thread.start()

    def submit(self, change: Change) -> None:
        """As `Journal.submit`."""
        self._queue.put((self._failures, change))

    async def close(self) -> None:
        """As `Journal.close`."""
        self._queue.put(None)
        await asyncio.shield(self._stopped)
        self._thread.join()

    def commits(self) -> int:
        """As `Journal.commits`."""
        return self._file.commits

    def file_bytes(self) -> int:
        """As `Journal.file_bytes`."""
        return self._file.size()

    def _on_failure(self, error: StoreError) -> None:
        self._failures += 1
        self._failed(error)

    def _write_until_end(self) -> None:
        failures = 0
        ended = False
        while not ended:
            group, ended = self._next_group(failures)
            error = self._write(group)
            if error is None:
                self._tell(self._committed, len(group))
            else:
                failures += 1
                self._tell(self._on_failure, error)
            self._file.checkpoint_if_due(idle=self._queue.empty())
        self._file.close()
        self._tell(self._stopped.set_result, None)

    def _next_group(self, failures: int) -> tuple[list[Change], bool]:
        """Wait for a change; take all others that are there. The flag tells of the end."""
        group: list[Change] = []
        size = 0
        item = self._queue.get()
        while item is not None:
            if item[0] == failures:
                group.append(item[1])
                size += payload_bytes(item[1])
            if len(group) >= GROUP_CHANGES_MAX or size >= GROUP_BYTES_MAX:
                return group, False
            try:
                item = self._queue.get_nowait()
            except Empty:
                return group, False
        return group, True

    def _write(self, group: list[Change]) -> StoreError | None:
        try:
            self._file.write(group)
        except StoreError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a dead writer would let every caller hang
            return StoreFailing(path=self._file.path, reason=repr(error))
        return None

    def _tell(self, callback: Callable[..., object], *values: object) -> None:
        # A loop that ended without closing the store has nobody left to tell.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *values)
