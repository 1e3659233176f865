"""What every backend offers, and its numbers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from moreton.store.core.model import (
    Compare,
    LeaseId,
    Op,
    RangeResult,
    TxnResult,
    WatchBatch,
)


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """A snapshot of a store's numbers. *commits* and *file_bytes* are 0 without a disk."""

    revision: int
    compact_revision: int
    keys: int
    leases: int
    watches: int
    history_events: int
    history_bytes: int
    writes_pending: int
    commits: int
    file_bytes: int


class Store(Protocol):
    """etcd's model: revisions, transactions, leases, watches, compaction.

    The revision grows by one with each transaction that changes something. A range of keys is
    `[key, end)`; without *end* it is the one key, and `NO_END` means everything from *key* on.

    When a write returns, it is durable; a write that was cancelled or refused by a failing disk
    while under way may yet have happened or not, as any caller must assume who lost the answer.
    A read sees every write that returned before it began.
    """

    async def range(
        self,
        key: bytes,
        end: bytes | None = None,
        *,
        revision: int | None = None,
        limit: int | None = None,
    ) -> RangeResult:
        """The keys in order, now or as of *revision*; at most *limit* of them.

        Raises `Compacted`, `FutureRevision`.
        """
        ...

    async def txn(
        self,
        compare: Sequence[Compare] = (),
        then: Sequence[Op] = (),
        otherwise: Sequence[Op] = (),
    ) -> TxnResult:
        """If every comparison holds do *then*, else *otherwise*: all at one revision, or nothing.

        An operation sees what those before it did. A branch may write a key only once.
        Raises `LeaseNotFound`, `DuplicateKey`, `RequestTooLarge`, `Compacted`, `FutureRevision`.
        """
        ...

    async def put(self, key: bytes, value: bytes, *, lease: LeaseId | None = None) -> int:
        """Set *key*; the revision that this made. Raises `LeaseNotFound`, `RequestTooLarge`.

        Without *lease* the key hangs on none from now on, whatever it hung on before.
        """
        ...

    async def delete(self, key: bytes, end: bytes | None = None) -> int:
        """Delete the keys of the range; how many there were. None makes no revision."""
        ...

    async def grant(self, ttl: timedelta, *, lease: LeaseId | None = None) -> LeaseId:
        """Begin a lease that lives at least *ttl* after each renewal. Raises `LeaseExists`."""
        ...

    async def keep_alive(self, lease: LeaseId) -> timedelta:
        """Renew *lease*, writing nothing; its time to live. Raises `LeaseNotFound`."""
        ...

    async def revoke(self, lease: LeaseId) -> None:
        """End *lease*; its keys are deleted at one revision. Raises `LeaseNotFound`."""
        ...

    def watch(
        self, key: bytes, end: bytes | None = None, *, from_revision: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchBatch]]:
        """The changes of the range from *from_revision* on, else from now: past ones, then live.

        A batch is all that one revision changed in the range. Entering or reading raises
        `Compacted` when that history is gone, also because the reader was too slow.
        """
        ...

    async def compact(self, revision: int) -> None:
        """Forget the history below *revision*. Raises `Compacted` if done, `FutureRevision`."""
        ...

    def statistics(self) -> StoreStatistics:
        """The store's numbers now."""
        ...

    async def close(self) -> None:
        """Finish the writes under way, stop watches, let go of files. May be called again."""
        ...
