"""Locks, semaphores and read-write locks: as elections, with another rule for who may go in."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from types import TracebackType

from moreton.election.core.errors import LockLost
from moreton.election.core.names import TTL_DEFAULT, Kind, check_permits
from moreton.election.core.queue import READ_SUFFIX, in_of
from moreton.election.holding import Bid, Holding
from moreton.election.place import Queue
from moreton.election.term import Holder, Term
from moreton.kernel.time import Clock
from moreton.store import Store


class Lockable(AbstractAsyncContextManager[Term]):
    """What can be entered again and again, by several tasks at a time."""

    def __init__(self, bid: Bid) -> None:
        self._bid = bid
        self._holdings: dict[asyncio.Task[object] | None, list[Holding]] = {}

    async def holders(self) -> tuple[Holder, ...]:
        """Who is in now, in order of arrival."""
        return tuple(map(Holder.of, in_of(await self._bid.queue.entries())))

    async def __aenter__(self) -> Term:
        """Raises `StillHeld`, `AlreadyHeld` and the store's errors; then nothing is held."""
        holding = Holding(self._bid)
        term = await holding.__aenter__()
        self._holdings.setdefault(asyncio.current_task(), []).append(holding)
        return term

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        task = asyncio.current_task()
        entered = self._holdings.get(task)
        if entered is None:
            raise RuntimeError(
                f"{self._bid.queue.what} is not held by the task that lets it go: nothing was let "
                "go; enter and leave it in one task"
            )
        holding = entered.pop()
        if not entered:
            del self._holdings[task]
        await holding.__aexit__(kind, error, trace)


class Lock(Lockable):
    """The lock *name*: `async with` it as the `Term` of its holder, one at a time, in turn.

    Entering waits at most *wait*; 0 tries once. When the lock is lost, the task is cancelled and
    the body ends by `LockLost`. A holder that dies is out *ttl* after its last sign of life at the
    latest. A task that holds it and asks again is refused with `AlreadyHeld`.

    Raises `TypeError` and `ValueError` as `Election` does.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        *,
        ttl: timedelta = TTL_DEFAULT,
        wait: timedelta | None = None,
        value: bytes | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        queue = Queue.of(store, Kind.LOCK, name, ttl=ttl, clock=clock)
        super().__init__(Bid.of(queue, value, wait, LockLost))


class Semaphore(Lockable):
    """As `Lock`, but up to *permits* may be in at a time; a task may be in more than once.

    Where holders and waiters speak of different numbers, as while a new version is rolled out, the
    smallest counts.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        *,
        permits: int,
        ttl: timedelta = TTL_DEFAULT,
        wait: timedelta | None = None,
        value: bytes | None = None,
        clock: Clock | None = None,
    ) -> None:
        check_permits(permits)
        self.name = name
        self.permits = permits
        queue = Queue.of(store, Kind.SEMAPHORE, name, ttl=ttl, clock=clock, suffix=f".{permits}")
        super().__init__(Bid.of(queue, value, wait, LockLost, again=permits > 1))


class ReadWriteLock:
    """As `Lock`, by `async with lock.read` and `async with lock.write`.

    Readers are in together and a writer alone, in the order of their arrival.

    A reader behind a waiting writer waits for it, so that readers cannot starve writers. Whoever
    reads cannot write before it has let go: two that did would wait for each other for ever.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        *,
        ttl: timedelta = TTL_DEFAULT,
        wait: timedelta | None = None,
        value: bytes | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        alone = Queue.of(store, Kind.READ_WRITE_LOCK, name, ttl=ttl, clock=clock)
        shared = Queue.of(
            store, Kind.READ_WRITE_LOCK, name, ttl=ttl, clock=clock, suffix=READ_SUFFIX
        )
        self.read = Lockable(Bid.of(shared, value, wait, LockLost))
        self.write = Lockable(Bid.of(alone, value, wait, LockLost))

    async def holders(self) -> tuple[Holder, ...]:
        """Who reads, or the one who writes, in order of arrival."""
        return await self.read.holders()
