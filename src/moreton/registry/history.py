"""The events of a day, in a store: written by one node for all, once for each change."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import cast

from moreton.kernel.ids import new_id
from moreton.kernel.rng import Rng, system_rng
from moreton.kernel.time import Clock, SystemClock
from moreton.registry.core.documents import PREFIX as INSTANCES
from moreton.registry.core.documents import parse_key
from moreton.registry.core.fold import Fold
from moreton.registry.core.history import (
    LEFT,
    POSITION,
    PREFIX,
    Event,
    EventKind,
    Left,
    decode,
    decode_left,
    encode,
    event_key,
    events_of,
    time_key,
)
from moreton.registry.registering import FencedWrite
from moreton.store import Delete, Put, Store, WatchBatch, prefix_end
from moreton.store.errors import Compacted, FutureRevision

KEPT = timedelta(days=1)
# Some 250 bytes each: 5 MB, which every node of the store holds in memory.
EVENTS_MAX = 20_000
# Changes of so long are written together: 1,000 that die in a second are ten writes.
_GATHER_SECONDS = 0.1
_TOGETHER_MAX = 100
_WAITING_MAX = 10_000
_FORGET_EVERY_SECONDS = 60.0
_FORGOTTEN_AT_ONCE_MAX = 100
_READ_AT_ONCE = 200


@dataclass(slots=True)
class _Waiting:
    """What is to be written, and how far the changes were read for it."""

    events: deque[Event]
    revision: int
    some: asyncio.Event


class History:
    """What happened to the instances in *store*, for a day and at most `EVENTS_MAX` events."""

    def __init__(self, store: Store, *, clock: Clock | None = None, rng: Rng | None = None) -> None:
        self._store = store
        self._clock = clock or SystemClock()
        self._rng = rng or cast("Rng", system_rng())

    def now(self) -> datetime:
        """The calendar time of events."""
        return self._clock.wall()

    async def add(self, event: Event) -> None:
        """Write down what no change of a registration tells."""
        key = event_key(event.at, new_id(event.at, self._rng))
        await self._store.put(key, encode([event]))

    async def read(
        self, *, since: datetime, service: str | None = None, limit: int = 1000
    ) -> list[Event]:
        """The events since then in order, of *service* or all; the last *limit* of them."""
        kept: deque[Event] = deque(maxlen=limit)
        start, end = time_key(since), prefix_end(PREFIX)
        while True:
            found = await self._store.range(start, end, limit=_READ_AT_ONCE)
            for kv in found.kvs:
                kept.extend(
                    x for x in decode(kv.value) if x.at >= since and service in {None, x.service}
                )
            if not found.more:
                return list(kept)
            start = found.kvs[-1].key + b"\0"

    async def follow(self, service: str | None = None) -> AsyncGenerator[Event, None]:
        """The events from now on, as they are written. Raises the store's errors."""
        async with self._store.watch(PREFIX, prefix_end(PREFIX)) as batches:
            async for batch in batches:
                for event in batch.events:
                    if event.kind == "put":
                        for each in decode(event.kv.value):
                            if service in {None, each.service}:
                                yield each

    async def keep(self, write: FencedWrite) -> None:
        """Write down what happens, and forget what is old; until cancelled.

        To be done by one node, with its term's *write*; the next one goes on where it stopped.
        Raises what *write* raises, and the store's errors.
        """
        waiting = _Waiting(deque(), 0, asyncio.Event())
        works = (self._gather(waiting), self._write_down(waiting, write), self._forget(write))
        tasks = [asyncio.create_task(each) for each in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # none of them ends by itself
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _gather(self, waiting: _Waiting) -> None:
        start, end = LEFT, prefix_end(INSTANCES)
        while True:
            fold, revision = await self._begin()
            try:
                async with self._store.watch(start, end, from_revision=revision) as batches:
                    async for batch in batches:
                        waiting.events.extend(_read(fold, batch, self._clock.wall()))
                        waiting.revision = batch.revision
                        waiting.some.set()
                        while len(waiting.events) > _WAITING_MAX:
                            await asyncio.sleep(_GATHER_SECONDS)
            except Compacted:
                continue  # so long ago that nobody knows what happened: from now on, then

    async def _begin(self) -> tuple[Fold, int]:
        """All instances as of where the events end, and the revision after that."""
        end = prefix_end(INSTANCES)
        found = await self._store.range(POSITION)
        if found.kvs:
            try:
                position = int(found.kvs[0].value)
                known = await self._store.range(INSTANCES, end, revision=position)
                return Fold(known.kvs), position + 1
            except (ValueError, Compacted, FutureRevision):
                pass
        known = await self._store.range(INSTANCES, end)
        return Fold(known.kvs), known.revision + 1

    async def _write_down(self, waiting: _Waiting, write: FencedWrite) -> None:
        while True:
            await waiting.some.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            waiting.some.clear()
            revision, events = waiting.revision, list(waiting.events)
            waiting.events.clear()
            for start in range(0, len(events), _TOGETHER_MAX):
                part = events[start : start + _TOGETHER_MAX]
                operations = [
                    Put(event_key(part[0].at, f"{revision:016d}.{start:06d}"), encode(part))
                ]
                if start + _TOGETHER_MAX >= len(events):
                    operations.append(Put(POSITION, str(revision).encode()))
                await write(operations)

    async def _forget(self, write: FencedWrite) -> None:
        while True:
            old = await self._too_many(EVENTS_MAX)
            oldest = time_key(self._clock.wall() - KEPT)
            await write([Delete(PREFIX, max(oldest, old))])
            await asyncio.sleep(_FORGET_EVERY_SECONDS)

    async def _too_many(self, most: int) -> bytes:
        """The key before which all is to be forgotten, so that *most* are left."""
        counts: deque[tuple[bytes, int]] = deque()
        total, start, end = 0, PREFIX, prefix_end(PREFIX)
        while True:
            found = await self._store.range(start, end, limit=_READ_AT_ONCE)
            for kv in found.kvs:
                counts.append((kv.key, count := len(decode(kv.value))))
                total += count
                while total > most:
                    total -= counts.popleft()[1]
            if not found.more:
                return counts[0][0] if counts else PREFIX
            start = found.kvs[-1].key + b"\0"


def _read(fold: Fold, batch: WatchBatch, at: datetime) -> Sequence[Event]:
    left: Left | None = None
    others = []
    for event in batch.events:
        if event.kv.key == LEFT:
            left = decode_left(event.kv.value)
        else:
            others.append(event)
    services = sorted({parse_key(event.kv.key).service for event in others})
    before = [fold.is_protected(service) for service in services]
    changes = fold.apply(replace(batch, events=tuple(others)))
    events = [event for change in changes for event in events_of(change, at, left)]
    for service, was_protected in zip(services, before, strict=True):
        if fold.is_protected(service) is not was_protected:
            kind = EventKind.UNPROTECTED if was_protected else EventKind.PROTECTED
            events.append(Event(at, kind, service, by="registry"))
    return events
