"""One's place in a queue in the store: taken, waited in, left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self, assert_never

from moreton.election.clock import LeaseClock
from moreton.election.core.errors import StillHeld
from moreton.election.core.names import Kind, check_ttl, key_of, prefix_of
from moreton.election.core.queue import (
    Entry,
    GoIn,
    NotThere,
    WaitFor,
    entries_of,
    turn_of,
)
from moreton.election.core.tenure import Tenure, usable
from moreton.election.keeping import Keeper
from moreton.kernel.rng import Rng, system_rng
from moreton.kernel.time import Clock
from moreton.store import LeaseId, Put, Range, Store, prefix_end
from moreton.store.core.model import RangeResult
from moreton.store.errors import Compacted, LeaseNotFound

_LOG = logging.getLogger("moreton.election")
# Leaving must not keep a program from ending: what fails is left to the lease.
LEAVE_MAX = timedelta(seconds=2)
# Those who leave after their task was cancelled: the loop itself holds tasks only weakly.
_LEAVING: set[asyncio.Task[None]] = set()

_WORDS = {
    Kind.ELECTION: "election",
    Kind.LOCK: "lock",
    Kind.SEMAPHORE: "semaphore",
    Kind.READ_WRITE_LOCK: "read-write lock",
}


class Displaced(Exception):
    """The place in the queue is gone: take another."""


@dataclass(frozen=True, slots=True)
class Queue:
    """What is competed for, and how."""

    store: Store
    prefix: bytes
    what: str  # for people, as `lock "name"`
    ttl: timedelta
    clock: Clock
    rng: Rng
    suffix: str = ""

    @classmethod
    def of(
        cls,
        store: Store,
        kind: Kind,
        name: str,
        *,
        ttl: timedelta,
        clock: Clock | None,
        suffix: str = "",
    ) -> Self:
        """The queue of *name*. Raises `TypeError`, `ValueError`."""
        if not hasattr(store, "keep_alive"):
            raise TypeError(f"{store!r} is not a store; make one with open_store(address)")
        check_queue(kind, name, ttl)
        what = f'{_WORDS[kind]} "{name}"'
        prefix = prefix_of(kind, name)
        return cls(store, prefix, what, ttl, clock or LeaseClock(), system_rng(), suffix)

    async def entries(self) -> list[Entry]:
        """All who are in or wait, in order of arrival."""
        return entries_of(self.prefix, (await self.read()).kvs)

    async def read(self) -> RangeResult:
        """All there is, and as of which revision."""
        return await self.store.range(self.prefix, prefix_end(self.prefix))


def check_queue(kind: Kind, name: str, ttl: timedelta) -> None:
    """Raises `TypeError`, `ValueError`."""
    check_ttl(ttl)
    prefix_of(kind, name)


async def wait_left() -> None:
    """Return when nobody of this loop is leaving any more: before its store is closed."""
    here = asyncio.get_running_loop()
    while leaving := [task for task in _LEAVING if task.get_loop() is here]:
        await asyncio.wait(leaving)


class Place:
    """An entry, its lease and whoever keeps it. Made by `take`; `leave` it in the end."""

    def __init__(self, queue: Queue, *, lease: LeaseId, asked: Tenure) -> None:
        self.queue = queue
        self.lease = lease
        self.key = key_of(queue.prefix, lease, queue.suffix)
        self.token = 0
        self.entries: list[Entry] = []
        self.gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.on_lost: Callable[[str], None] = lambda _: None
        self._tenure = asked
        self._keeper: Keeper | None = None
        self._revision = 0

    @classmethod
    async def take(cls, queue: Queue, value: bytes) -> Self:
        """Stand in line, at the end. Raises the store's errors; then nothing is left behind."""
        tenure = Tenure(queue.ttl, queue.rng, asked=queue.clock.now())
        lease = await queue.store.grant(queue.ttl)
        place = cls(queue, lease=lease, asked=tenure)
        try:
            await place._put(value)
        except BaseException:
            await place.leave()
            raise
        return place

    @property
    def keeper(self) -> Keeper:
        """Who keeps the lease."""
        assert self._keeper is not None, "the entry was put by `take`"
        return self._keeper

    async def wait_turn(self, until: float | None, wait: timedelta | None) -> None:
        """Return once it is one's turn and the lease was renewed since.

        Raises `Displaced`, and `StillHeld` at *until* on the loop's clock, having waited *wait*.
        """
        if isinstance(turn_of(self.key, self.entries), GoIn):
            return
        turn = asyncio.ensure_future(self._wait_turn(until, wait))
        try:
            both: set[asyncio.Future[Any]] = {turn, self.gone}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not turn.done():
                turn.cancel()
                await asyncio.wait({turn})
        if self.gone.done():
            if not turn.cancelled():
                turn.exception()  # of the same cause
            raise Displaced(self.gone.result())
        turn.result()

    async def leave(self) -> None:
        """End the lease, and the entry with it; in at most two seconds, also when cancelled."""
        if self._keeper is not None:
            self._keeper.stop()
        leaving = asyncio.ensure_future(self._revoke())
        _LEAVING.add(leaving)
        leaving.add_done_callback(_LEAVING.discard)
        await asyncio.shield(leaving)

    async def _put(self, value: bytes) -> None:
        queue = self.queue
        span = Range(queue.prefix, prefix_end(queue.prefix))
        done = await queue.store.txn(then=[Put(self.key, value, self.lease), span])
        found = done.results[1]
        assert isinstance(found, RangeResult)
        self._take_in(found, done.revision)
        self.token = done.revision
        self._keeper = Keeper(
            queue.store,
            self._tenure,
            lease=self.lease,
            key=self.key,
            token=self.token,
            clock=queue.clock,
            on_lost=self._on_lost,
        )

    def _on_lost(self, reason: str) -> None:
        if not self.gone.done():
            self.gone.set_result(reason)
            self.on_lost(reason)

    def _take_in(self, found: RangeResult, revision: int) -> None:
        self.entries = entries_of(self.queue.prefix, found.kvs)
        self._revision = revision

    async def _wait_turn(self, until: float | None, wait: timedelta | None) -> None:
        while True:
            match turn_of(self.key, self.entries):
                case GoIn():
                    break
                case NotThere():
                    raise Displaced("its entry was deleted")
                case WaitFor() as others:
                    if not await self._wait_gone(others, until):
                        raise self._still_held(others.first, wait or timedelta(0))
                case _ as turn:
                    assert_never(turn)
            found = await self.queue.read()
            self._take_in(found, found.revision)
        # Whoever waited long may have lost the lease meanwhile: going in on the word of the one who
        # left is what etcd's lock once did (etcd#11456).
        if not await self.keeper.renew_now(usable(self.queue.ttl)):
            raise Displaced("the store did not confirm its lease")

    async def _wait_gone(self, others: WaitFor, until: float | None) -> bool:
        """Return when so many are gone, or when it cannot be told; false at *until*."""
        prefix = self.queue.prefix
        one = next(iter(others.keys)) if len(others.keys) == 1 else None
        span = (prefix, prefix_end(prefix)) if one is None else (one, None)
        missing = others.count
        try:
            async with (
                asyncio.timeout_at(until) as limit,
                self.queue.store.watch(*span, from_revision=self._revision + 1) as batches,
            ):
                async for batch in batches:
                    gone = [event.kv.key for event in batch.events if event.kind == "delete"]
                    missing -= len(others.keys.intersection(gone))
                    if missing <= 0:
                        return True
        except Compacted:
            return True
        except TimeoutError:
            if limit.expired():
                return False
            raise
        return True

    def _still_held(self, by: Entry, wait: timedelta) -> StillHeld:
        return StillHeld(what=self.queue.what, wait=wait, holder=by.value, token=by.token)

    async def _revoke(self) -> None:
        limit = min(self.queue.ttl, LEAVE_MAX).total_seconds()
        try:
            async with asyncio.timeout(limit):
                await self.queue.store.revoke(self.lease)
        except LeaseNotFound:
            return
        except Exception as error:  # noqa: BLE001 - the lease ends by itself
            _LOG.warning(
                "%s could not be given back, %s: it is free when its lease ends, in at most %s",
                self.queue.what,
                str(error) or type(error).__name__,
                self.queue.ttl,
            )
