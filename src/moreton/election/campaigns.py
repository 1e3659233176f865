"""Elections: one leader for each name, for as long as its lease lives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from moreton.election.core.errors import FencedOff, LeadershipLost
from moreton.election.core.names import TTL_DEFAULT, Kind
from moreton.election.core.queue import Entry, entries_of, entry_of
from moreton.election.holding import Bid, Holding
from moreton.election.place import Queue
from moreton.election.term import Holder, Term
from moreton.kernel.time import Clock
from moreton.resilience import Backoff
from moreton.store import Store, WatchBatch, prefix_end
from moreton.store.errors import Compacted, StoreClosed, StoreError

_LOG = logging.getLogger("moreton.election")
# Between campaigns that the store's troubles ended.
BACKOFF = Backoff(initial=timedelta(milliseconds=200), cap=timedelta(seconds=5))

_Done = TypeVar("_Done")


class Election:
    """The election *name* in *store*: candidates in the order of their arrival, the first leads.

    A leader that dies, hangs or is cut off is replaced *ttl* after its last sign of life at the
    latest, and one that ends well at once. Signs of life write nothing to the store.

    Raises `TypeError` and `ValueError` for a name or a *ttl* that cannot be; a ttl is from 100 ms
    to a day. All candidates of a name should take the same.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        *,
        ttl: timedelta = TTL_DEFAULT,
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self._queue = Queue.of(store, Kind.ELECTION, name, ttl=ttl, clock=clock)

    def campaign(self, value: bytes | None = None, *, wait: timedelta | None = None) -> Holding:
        """`async with` it as the leader's `Term`; the body is what only a leader does.

        Entering waits until this process leads, at most *wait*; 0 asks once. *value* is what others
        are told of the leader: without one, host and process number. When the leadership is lost
        the task is cancelled and the body ends by `LeadershipLost`. Raises `StillHeld`,
        `AlreadyHeld` for a campaign within the leader's own task, and the store's errors.
        """
        return Holding(Bid.of(self._queue, value, wait, LeadershipLost))

    async def lead(
        self, duty: Callable[[Term], Awaitable[_Done]], *, value: bytes | None = None
    ) -> _Done:
        """Run *duty* whenever this process leads, until it returns; what it returned.

        When the leadership is lost, *duty* is cancelled, and called again with the next term. What
        it raises ends this, but for the store's errors: those end the term, and after a while a
        campaign is begun anew, as often as it takes.
        """
        failures = 0
        while True:
            term: Term | None = None
            try:
                async with self.campaign(value) as term:
                    return await duty(term)
            except (LeadershipLost, FencedOff) as error:
                if term is None or error.token != term.token:
                    raise
            except StoreError as error:
                if isinstance(error, StoreClosed):
                    raise
                failures = failures + 1 if term is None else 1
                _LOG.warning("%s: campaigning again in a while, %s", self._queue.what, error)
                await asyncio.sleep(BACKOFF.seconds(failures, self._queue.rng))

    async def leader(self) -> Holder | None:
        """Who leads now; `None` if nobody does."""
        entries = await self._queue.entries()
        return Holder.of(entries[0]) if entries else None

    async def observe(self) -> AsyncGenerator[Holder | None, None]:
        """Who leads now, and then each change in order; `None` while nobody does.

        A reader so slow that the store's history was compacted meanwhile misses changes, not the
        last one. Raises the store's errors.
        """
        told: Holder | None = None
        first = True
        while True:
            found = await self._queue.read()
            known = {e.key: e for e in entries_of(self._queue.prefix, found.kvs)}
            span = (self._queue.prefix, prefix_end(self._queue.prefix))
            try:
                async with self._queue.store.watch(
                    *span, from_revision=found.revision + 1
                ) as batches:
                    if first or _leader(known) != told:
                        first, told = False, _leader(known)
                        yield told
                    async for batch in batches:
                        self._fold(known, batch)
                        if _leader(known) != told:
                            told = _leader(known)
                            yield told
            except Compacted:
                continue

    def _fold(self, known: dict[bytes, Entry], batch: WatchBatch) -> None:
        for event in batch.events:
            known.pop(event.kv.key, None)
            entry = entry_of(self._queue.prefix, event.kv)
            if event.kind == "put" and entry is not None:
                known[entry.key] = entry


def _leader(known: dict[bytes, Entry]) -> Holder | None:
    first = min(known.values(), key=lambda entry: entry.token, default=None)
    return None if first is None else Holder.of(first)
