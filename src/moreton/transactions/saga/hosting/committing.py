"""Commits for coroutines: a thread that waits for the disk in their place."""

from __future__ import annotations

import asyncio
import contextlib
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeAlias

from moreton.transactions.saga.ledgers.group import GROUP_WRITES_MAX
from moreton.transactions.saga.ledgers.port import Ledger, Write

_Item: TypeAlias = "tuple[Write, asyncio.AbstractEventLoop, asyncio.Future[None]] | None"


class Committer:
    """Whatever comes while a commit runs goes into the next one."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._queue: SimpleQueue[_Item] = SimpleQueue()
        self._thread = Thread(target=self._run, name="moreton-sagas-commit", daemon=True)
        self._thread.start()

    async def commit(self, write: Write) -> None:
        """As `Ledger.commit`."""
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()
        self._queue.put((write, loop, written))
        await written

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
        loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        for _, loop, written in group:
            loops.setdefault(loop, []).append(written)
        for loop, futures in loops.items():
            with contextlib.suppress(RuntimeError):  # a loop that ended has nobody to tell
                loop.call_soon_threadsafe(_tell, futures, error)


def _tell(futures: list[asyncio.Future[None]], error: Exception | None) -> None:
    for written in futures:
        if written.done():
            continue
        if error is None:
            written.set_result(None)
        else:
            written.set_exception(error)
