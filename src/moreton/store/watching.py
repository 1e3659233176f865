"""Watches: cursors into the shared history, so that a slow reader costs no memory of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import chain

from moreton.store.core.errors import Compacted
from moreton.store.core.history import History, select
from moreton.store.core.keys import covers
from moreton.store.core.model import WatchBatch
from moreton.store.core.state import State
from moreton.store.errors import StoreClosed

# A reader with much to catch up lets others run after looking at so many batches.
_BATCHES_PER_TURN = 1000


class Watch(AsyncIterator[WatchBatch]):
    """One reader's place in the history.

    It holds the revision it wants next, no queue: the store's history is the buffer and its
    bound. A reader that falls behind that is told to start over by `Compacted`.
    """

    def __init__(self, hub: WatchHub, key: bytes, end: bytes | None, from_revision: int) -> None:
        self.key = key
        self.end = end
        self._hub = hub
        self._next_revision = from_revision
        self._asleep: asyncio.Future[None] | None = None

    async def __anext__(self) -> WatchBatch:
        while True:
            found = self._catch_up()
            if found is not None:
                return found
            if self._next_revision <= self._hub.revision:
                await asyncio.sleep(0)
                continue
            self._asleep = self._hub.loop.create_future()
            try:
                await self._asleep
            finally:
                self._asleep = None

    def notify(self, revision: int) -> None:
        """There is something to read at *revision*, and nothing between it and what was read."""
        if self._asleep is not None and not self._asleep.done():
            self._next_revision = max(self._next_revision, revision)
            self._asleep.set_result(None)

    def look_again(self, revision: int) -> None:
        """The contents were replaced. Who sleeps has seen everything before *revision*."""
        if self._asleep is not None and not self._asleep.done():
            self._next_revision = max(self._next_revision, revision)
            self._asleep.set_result(None)

    def end_now(self) -> None:
        """The store closed: let the reader find out."""
        if self._asleep is not None and not self._asleep.done():
            self._asleep.set_result(None)

    def _catch_up(self) -> WatchBatch | None:
        self._hub.check(self._next_revision)
        last = min(self._hub.revision, self._next_revision + _BATCHES_PER_TURN - 1)
        for batch in self._hub.history.between(self._next_revision, last):
            self._next_revision = batch.revision + 1
            found = select(batch, self.key, self.end)
            if found is not None:
                return found
        self._next_revision = max(self._next_revision, last + 1)
        return None


class WatchHub:
    """All watches of a store: who is woken by which batch."""

    def __init__(self, state: State, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.revision = state.revision
        self.closed = False
        self._state = state
        # Most watches of a large store are for one key: found without looking at the others.
        self._of_key: dict[bytes, set[Watch]] = {}
        self._of_range: set[Watch] = set()

    def __len__(self) -> int:
        return len(self._of_range) + sum(map(len, self._of_key.values()))

    @property
    def history(self) -> History:
        """What can be watched."""
        return self._state.history

    def check(self, revision: int) -> None:
        """Raises `Compacted` when *revision* is out of reach, `StoreClosed` after the end."""
        if self.closed:
            raise StoreClosed
        if revision < self._state.compact_revision:
            raise Compacted(revision=revision, compact_revision=self._state.compact_revision)

    def add(self, watch: Watch) -> None:
        """Wake *watch* from now on."""
        if watch.end is None:
            self._of_key.setdefault(watch.key, set()).add(watch)
        else:
            self._of_range.add(watch)

    def remove(self, watch: Watch) -> None:
        """Wake *watch* no more."""
        self._of_range.discard(watch)
        watches = self._of_key.get(watch.key, set())
        watches.discard(watch)
        if not watches:
            self._of_key.pop(watch.key, None)

    def publish(self, batch: WatchBatch) -> None:
        """*batch* is durable: show it."""
        self.revision = batch.revision
        for watch in tuple(self._concerned(batch)):
            watch.notify(batch.revision)

    def replace(self, state: State) -> None:
        """*state*, which is newer, stands in place of the one before: show what it has."""
        seen = self.revision
        self._state = state
        self.revision = state.revision
        for watch in self._all():
            watch.look_again(seen + 1)

    def close(self) -> None:
        """End every watch."""
        self.closed = True
        for watch in self._all():
            watch.end_now()

    def _all(self) -> list[Watch]:
        return list(chain(self._of_range, *self._of_key.values()))

    def _concerned(self, batch: WatchBatch) -> Iterator[Watch]:
        for event in batch.events:
            yield from self._of_key.get(event.kv.key, ())
        for watch in self._of_range:
            if any(covers(event.kv.key, watch.key, watch.end) for event in batch.events):
                yield watch
