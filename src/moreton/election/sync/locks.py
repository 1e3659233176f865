"""Locks, semaphores and read-write locks for threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from types import TracebackType

from moreton import election
from moreton.election.core.names import TTL_DEFAULT, Kind, check_permits
from moreton.election.holding import check_bid
from moreton.election.locks import Lockable as AsyncLockable
from moreton.election.place import check_queue
from moreton.election.sync.engine import SyncStore, check_store
from moreton.election.sync.holding import Holding, Term
from moreton.store import Store


class _Entered(threading.local):
    """What this thread is in, the newest last."""

    def __init__(self) -> None:
        self.holdings: list[Holding] = []


class Lockable(AbstractContextManager[Term]):
    """What can be entered again and again, by several threads at a time."""

    def __init__(self, store: SyncStore, lockable: Callable[[Store], AsyncLockable]) -> None:
        self._store = store
        self._lockable = lockable
        self._entered = _Entered()

    def holders(self) -> tuple[election.Holder, ...]:
        """Who is in now, in order of arrival."""
        return self._store.call(lambda store: self._lockable(store).holders())

    def __enter__(self) -> Term:
        """Raises `StillHeld`, `AlreadyHeld` and the store's errors; then nothing is held."""
        holding = Holding(self._store, self._lockable)
        term = holding.__enter__()
        self._entered.holdings.append(holding)
        return term

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._entered.holdings.pop().__exit__(kind, error, trace)


class Lock(Lockable):
    """As `moreton.election.Lock`, for threads."""

    def __init__(
        self,
        store: SyncStore,
        name: str,
        *,
        ttl: timedelta = TTL_DEFAULT,
        wait: timedelta | None = None,
        value: bytes | None = None,
    ) -> None:
        check_store(store)
        check_queue(Kind.LOCK, name, ttl)
        check_bid(value, wait)
        self.name = name
        super().__init__(
            store, lambda opened: election.Lock(opened, name, ttl=ttl, wait=wait, value=value)
        )


class Semaphore(Lockable):
    """As `moreton.election.Semaphore`, for threads."""

    def __init__(
        self,
        store: SyncStore,
        name: str,
        *,
        permits: int,
        ttl: timedelta = TTL_DEFAULT,
        wait: timedelta | None = None,
        value: bytes | None = None,
    ) -> None:
        check_store(store)
        check_queue(Kind.SEMAPHORE, name, ttl)
        check_bid(value, wait)
        check_permits(permits)
        self.name = name
        self.permits = permits
        super().__init__(
            store,
            lambda opened: election.Semaphore(
                opened, name, permits=permits, ttl=ttl, wait=wait, value=value
            ),
        )


class ReadWriteLock:
    """As `moreton.election.ReadWriteLock`, for threads."""

    def __init__(
        self,
        store: SyncStore,
        name: str,
        *,
        ttl: timedelta = TTL_DEFAULT,
        wait: timedelta | None = None,
        value: bytes | None = None,
    ) -> None:
        check_store(store)
        check_queue(Kind.READ_WRITE_LOCK, name, ttl)
        check_bid(value, wait)

        def of(opened: Store) -> election.ReadWriteLock:
            return election.ReadWriteLock(opened, name, ttl=ttl, wait=wait, value=value)

        self.name = name
        self.read = Lockable(store, lambda opened: of(opened).read)
        self.write = Lockable(store, lambda opened: of(opened).write)

    def holders(self) -> tuple[election.Holder, ...]:
        """Who reads, or the one who writes, in order of arrival."""
        return self.read.holders()
