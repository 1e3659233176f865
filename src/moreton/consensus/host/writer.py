"""One thread that writes to the disk, and what waits until it has.

All records that wait when the thread is free are written and synced together: the busier the node,
the more share one sync.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeAlias

from moreton.consensus.core.events import Persist
from moreton.consensus.core.messages import Message
from moreton.consensus.ports import Disk

_Call: TypeAlias = Callable[[], None]


class Writer:
    """Hands records to *disk* in order; calls *durable* and *failed* in the event loop.

    After a failure nothing more is written: what the disk holds then is not known.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        durable: Callable[[int], None],
        failed: Callable[[Exception], None],
        send: Callable[[Message], None],
    ) -> None:
        self._disk = disk
        self._loop = asyncio.get_running_loop()
        self._durable = durable
        self._failed = failed
        self._send = send
        self._queue: SimpleQueue[list[Persist] | _Call | None] = SimpleQueue()
        self._lazy: list[Persist] = []  # not to be synced for their own sake
        self._submitted = 0  # the number of the newest record that the thread was given
        self._newest = 0
        self._done = 0
        self._voted = 0  # the number of the newest record that has a term or a vote
        self._term: tuple[int, int | None] = (0, None)
        self._held: deque[tuple[int, Message]] = deque()
        self._thread = threading.Thread(target=self._run, name="raft-disk", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many numbers are not durable yet."""
        return self._newest - self._done

    def persist(self, record: Persist) -> None:
        """Make *record* durable; without `sync`, along with the next that has it."""
        self._newest = record.number
        state = record.hard_state
        if state is not None and (state.term, state.vote) != self._term:
            self._term = (state.term, state.vote)
            self._voted = record.number
        if record.sync:
            self._submitted = record.number
            self._queue.put([*self._lazy, record])
            self._lazy.clear()
        else:
            # Nothing but a commit index: the newest one is enough.
            self._lazy = [record]
            if self._done >= self._submitted:
                self._advance(self._submitted)

    def hold(self, message: Message, *, for_vote: bool = False) -> None:
        """Send *message* once all records so far, or those of the term, are durable."""
        number = self._voted if for_vote else self._newest
        if number <= self._done:
            self._send(message)
        else:
            self._held.append((self._newest, message))

    def after(self, call: _Call) -> None:
        """Run *call* in the thread, after what was submitted before."""
        self._queue.put(call)

    def close_nowait(self) -> None:
        """Write what is queued, then end the thread; see `join`."""
        if self._lazy:
            self._queue.put(self._lazy)
            self._lazy = []
        self._queue.put(None)

    def join(self) -> None:
        """Wait for the thread's end: not in the event loop."""
        self._thread.join()

    def _advance(self, synced: int) -> None:
        # What needs no sync of its own counts as soon as everything before it is synced.
        done = self._newest if synced >= self._submitted else synced
        if done <= self._done:
            return
        self._done = done
        self._durable(done)
        while self._held and self._held[0][0] <= done:
            self._send(self._held.popleft()[1])

    # --- in the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        queue, stopping = self._queue, False
        while not stopping:
            work = [queue.get()]
            while not queue.empty():
                work.append(queue.get())
            stopping = None in work
            records = [record for one in work if isinstance(one, list) for record in one]
            calls = [one for one in work if callable(one)]
            try:
                if records:
                    self._disk.write(records)
                    self._tell(self._advance, records[-1].number)
                for call in calls:
                    call()
            except Exception as error:  # noqa: BLE001 - whatever it is, nothing is durable any more
                self._tell(self._failed, error)
                return

    def _tell(self, call: Callable[..., None], argument: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, argument)
