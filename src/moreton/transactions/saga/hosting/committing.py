"""Commits for coroutines: a thread that waits for the disk in their place."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeAlias

from moreton.transactions.saga.ledgers.group import GROUP_WRITES_MAX
from moreton.transactions.saga.ledgers.port import Ledger, Write

_Asked: TypeAlias = "tuple[Write, asyncio.Future[None]]"
_Item: TypeAlias = "tuple[Write, asyncio.AbstractEventLoop, asyncio.Future[None]] | None"


class Committer:
    """Whatever comes while a commit runs goes into the next one.

    *unheard* is told of a write that was made, and whose caller was cancelled meanwhile.
    """

    def __init__(self, ledger: Ledger, unheard: Callable[[Write], None]) -> None:
        self._ledger, self._unheard = ledger, unheard
        self._queue: SimpleQueue[_Item] = SimpleQueue()
        self._thread = Thread(target=self._run, name="moreton-sagas-commit", daemon=True)
        self._thread.start()

    async def commit(self, write: Write) -> None:
        """As `Ledger.commit`."""
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()
        self._queue.put((write, loop, written))
        try:
            await written
        except asyncio.CancelledError:
            # It may come between the answer and whom it wakes.
            if not written.cancelled() and written.exception() is None:
                self._unheard(write)
            raise

    def close(self) -> None:
        """Write what was asked for, and end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            group = []
            with contextlib.suppress(Empty):
                while item is not None:
                    group.append(item)
                    if len(group) == GROUP_WRITES_MAX:
                        break
                    item = self._queue.get_nowait()
            if group:
                self._commit(group)
            if item is None:
                return

    def _commit(
        self, group: list[tuple[Write, asyncio.AbstractEventLoop, asyncio.Future[None]]]
    ) -> None:
        error: Exception | None = None
        try:
            self._ledger.commit_all([write for write, _, _ in group])
        except Exception as raised:  # noqa: BLE001 - it is raised where each was asked for
            error = raised
        loops: dict[asyncio.AbstractEventLoop, list[_Asked]] = {}
        for write, loop, written in group:
            loops.setdefault(loop, []).append((write, written))
        for loop, asked in loops.items():
            try:
                loop.call_soon_threadsafe(self._tell, asked, error)
            except RuntimeError:  # the loop ended, and all who waited there
                if error is None:
                    self._tell_nobody(asked)

    def _tell(self, asked: list[_Asked], error: Exception | None) -> None:
        for write, written in asked:
            if written.done():
                if error is None:
                    self._unheard(write)
            elif error is None:
                written.set_result(None)
            else:
                written.set_exception(error)

    def _tell_nobody(self, asked: list[_Asked]) -> None:
        for write, _ in asked:
            self._unheard(write)
