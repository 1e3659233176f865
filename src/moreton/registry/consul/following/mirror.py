"""A part of the store as it was seen last: read without waiting, kept up to date by one watch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from moreton.kernel.time import Clock, Instant
from moreton.store import KeyValue, RangeResult, Store, WatchBatch, WatchEvent, prefix_end
from moreton.store.core.keyspace import Keyspace
from moreton.store.errors import Compacted

# Who has read the store waits so long for the watch to say the same.
CATCH_UP_SECONDS = 5.0


class Mirror:
    """The keys of *store* that begin with *prefix*; *notice* is told of changes, in order.

    Of a gap that a watch could not tell, *notice* hears as one batch of what is different. Each
    event tells what lay there before, also where the store has forgotten it.
    """

    def __init__(
        self, store: Store, prefix: bytes, *, notice: Callable[[WatchBatch], None], clock: Clock
    ) -> None:
        self.prefix = prefix
        self.revision = 0
        self.seen_at: Instant | None = None  # when it was up to date last; None while it is
        self._store = store
        self._notice = notice
        self._clock = clock
        self._keyspace = Keyspace()
        self._moved = asyncio.Event()

    def get(self, key: bytes) -> KeyValue | None:
        """What lay under *key*."""
        return self._keyspace.get(key)

    def range(self, start: bytes) -> Sequence[KeyValue]:
        """What lay under the keys that begin with *start*, in order."""
        keys = self._keyspace.keys(start, prefix_end(start))
        return [kv for key in keys if (kv := self._keyspace.get(key)) is not None]

    async def follow(self, is_fine: Callable[[], None]) -> None:
        """Keep up to date; *is_fine* is called once it is. Raises the store's errors."""
        try:
            while True:
                await self._load()
                is_fine()
                self.seen_at = None
                try:
                    await self._watch()
                except Compacted:
                    continue
        finally:
            self.seen_at = self._clock.now()

    async def wait_loaded(self) -> None:
        """Return once everything there is was read for the first time."""
        while self.revision == 0:
            self._moved.clear()
            await self._moved.wait()

    async def wait_revision(self, revision: int) -> None:
        """Return once *revision*, in which something changed here, was seen.

        Raises `TimeoutError` when the watch does not keep up.
        """
        async with asyncio.timeout(CATCH_UP_SECONDS):
            while self.revision < revision:
                self._moved.clear()
                await self._moved.wait()

    async def settle(self, start: bytes, end: bytes | None = None) -> None:
        """Return once what the store says now of the range was seen here.

        Raises the store's errors, and `TimeoutError` when the watch does not keep up.
        """
        found = await self._store.range(start, end)
        async with asyncio.timeout(CATCH_UP_SECONDS):
            while not self._has_seen(found, start, end):
                self._moved.clear()
                await self._moved.wait()

    def _has_seen(self, found: RangeResult, start: bytes, end: bytes | None) -> bool:
        if self.revision >= found.revision:
            return True
        expected = {kv.key: kv.mod_revision for kv in found.kvs}
        own = {key: self._keyspace.get(key) for key in self._keyspace.keys(start, end)}
        known = {key: kv.mod_revision for key, kv in own.items() if kv is not None}
        return all(known.get(key, 0) >= each for key, each in expected.items()) and all(
            key in expected or each > found.revision for key, each in known.items()
        )

    async def _load(self) -> None:
        found = await self._store.range(self.prefix, prefix_end(self.prefix))
        now = {kv.key: kv for kv in found.kvs}
        events = [
            WatchEvent("delete", KeyValue(old.key, b"", 0, found.revision, 0), old)
            for old in self._keyspace.everything()
            if old.key not in now
        ]
        for kv in found.kvs:
            old = self._keyspace.get(kv.key)
            if old is None or old.mod_revision != kv.mod_revision:
                events.append(WatchEvent("put", kv, old))
        self._take(WatchBatch(found.revision, tuple(events)))

    async def _watch(self) -> None:
        end, first = prefix_end(self.prefix), self.revision + 1
        async with self._store.watch(self.prefix, end, from_revision=first) as batches:
            async for batch in batches:
                self._take(batch)

    def _take(self, batch: WatchBatch) -> None:
        events = tuple(map(self._taken, batch.events))
        self.revision = batch.revision
        self._notice(WatchBatch(batch.revision, events))
        self._moved.set()

    def _taken(self, event: WatchEvent) -> WatchEvent:
        """*event*, which tells what lay there before: a history that was compacted does not."""
        old = self._keyspace.replace(event.kv.key, event.kv if event.kind == "put" else None)
        return event if event.prev is not None else WatchEvent(event.kind, event.kv, old)
