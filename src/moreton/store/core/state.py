"""Everything a store remembers: keys, history, leases; and each step by which it moves on.

A step changes the state at once and returns a `Change` for the disk. Until that is durable, the
host shows readers an older revision; if it never is, the host calls `undo`, newest first.
A reader of an old revision gets the present with the newer batches undone: no key keeps versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias, assert_never

from moreton.store.core.changes import (
    Change,
    HistoryCompacted,
    LeaseGranted,
    LeaseRevoked,
    NothingChanged,
    Written,
)
from moreton.store.core.comparison import holds
from moreton.store.core.errors import Compacted, FutureRevision, LeaseExists, LeaseNotFound
from moreton.store.core.history import History, deleted_at
from moreton.store.core.keys import covers
from moreton.store.core.keyspace import Keyspace
from moreton.store.core.model import (
    Delete,
    DeleteResult,
    KeyValue,
    Lease,
    LeaseId,
    Op,
    OpResult,
    Put,
    PutResult,
    Range,
    RangeResult,
    Transaction,
    TxnResult,
    WatchBatch,
    WatchEvent,
)

# What a range shows, cut by its limit, and how many keys it has.
_View: TypeAlias = tuple[list[KeyValue], int]

# etcd's: an empty store is at revision 1 and its first write makes revision 2.
FIRST_REVISION = 1


class State:
    """A store's contents at its newest revision, durable or not."""

    def __init__(
        self,
        *,
        kvs: Iterable[KeyValue] = (),
        leases: Iterable[Lease] = (),
        history: History | None = None,
        revision: int = FIRST_REVISION,
        compact_revision: int = 0,
    ) -> None:
        self.keyspace = Keyspace(kvs)
        self.history = history or History()
        self.leases = {lease.id: lease for lease in leases}
        self.revision = revision
        self.compact_revision = compact_revision

    def read(self, op: Range, *, visible: int) -> RangeResult:
        """The range as of its revision, else as of *visible*, the newest durable revision.

        O(size of the range + changes since then). Raises `Compacted`, `FutureRevision`.
        """
        self._check_revision(op, visible)
        found, count = self._view(op, visible if op.revision is None else op.revision, ())
        return RangeResult(visible, tuple(found), count)

    def apply(self, request: Transaction) -> tuple[TxnResult, Change]:
        """Run *request* on the newest contents; all of it or, on an error, nothing.

        Raises `LeaseNotFound`, `Compacted`, `FutureRevision`.
        """
        succeeded = all(holds(condition, self.keyspace) for condition in request.compare)
        branch = request.then if succeeded else request.otherwise
        for op in branch:
            self._check(op)
        events: list[WatchEvent] = []
        results = tuple([self._perform(op, events) for op in branch])
        change = self._finish(events)
        return TxnResult(succeeded, self.revision, results), change or NothingChanged()

    def grant(self, lease: Lease) -> LeaseGranted:
        """Begin *lease*. Raises `LeaseExists`."""
        if lease.id in self.leases:
            raise LeaseExists(lease=lease.id)
        self.leases[lease.id] = lease
        return LeaseGranted(lease)

    def revoke(self, lease: LeaseId) -> LeaseRevoked:
        """End *lease* and delete its keys, all in one revision. Raises `LeaseNotFound`."""
        gone = self.leases.pop(lease, None)
        if gone is None:
            raise LeaseNotFound(lease=lease)
        events: list[WatchEvent] = []
        for key in self.keyspace.attached(lease):
            self._delete(key, events)
        written = self._finish(events)
        return LeaseRevoked(gone, written.batch if written else None)

    def plan_compaction(self, revision: int, *, visible: int) -> HistoryCompacted:
        """What `compact` would leave behind; changes nothing.

        Raises `Compacted` if that was done already, `FutureRevision`.
        """
        if revision <= self.compact_revision:
            raise Compacted(revision=revision, compact_revision=self.compact_revision)
        if revision > visible:
            raise FutureRevision(revision=revision, current=visible)
        dead: list[tuple[int, bytes]] = []
        for batch in self.history.between(self.compact_revision, revision):
            for event in batch.events:
                if event.prev is not None:
                    dead.append((event.prev.mod_revision, event.kv.key))
                if event.kind == "delete" and batch.revision < revision:
                    dead.append((batch.revision, event.kv.key))
        return HistoryCompacted(revision, tuple(dead))

    def compact(self, revision: int) -> None:
        """Forget the history below *revision*; what happened in it can still be watched."""
        if revision > self.compact_revision:
            self.compact_revision = revision
            self.history.drop_below(revision)

    def undo(self, change: Change) -> None:
        """Take back the newest change, which did not become durable."""
        match change:
            case Written(batch):
                self._undo(batch)
            case LeaseGranted(lease):
                del self.leases[lease.id]
            case LeaseRevoked(lease, batch):
                self.leases[lease.id] = lease
                if batch is not None:
                    self._undo(batch)
            case HistoryCompacted() | NothingChanged():
                pass  # not applied before it is durable
            case _:
                assert_never(change)

    def _undo(self, batch: WatchBatch) -> None:
        undone = self.history.pop()
        assert undone is batch, "changes are undone newest first"
        for event in batch.events:
            self.keyspace.replace(event.kv.key, event.prev)
        self.revision = batch.revision - 1

    def _check(self, op: Op) -> None:
        if isinstance(op, Range):
            self._check_revision(op, self.revision)
        elif isinstance(op, Put) and op.lease is not None and op.lease not in self.leases:
            raise LeaseNotFound(lease=op.lease)

    def _check_revision(self, op: Range, newest: int) -> None:
        if op.revision is None:
            return
        if op.revision > newest:
            raise FutureRevision(revision=op.revision, current=newest)
        if op.revision < self.compact_revision:
            raise Compacted(revision=op.revision, compact_revision=self.compact_revision)

    def _perform(self, op: Op, events: list[WatchEvent]) -> OpResult:
        match op:
            case Put():
                return PutResult(self._put(op, events))
            case Delete():
                gone = self.keyspace.keys(op.key, op.end)
                return DeleteResult(tuple([self._delete(key, events) for key in gone]))
            case Range(revision=None):
                found, count = self._view(op, self.revision, ())
            case Range(revision=revision):
                found, count = self._view(op, revision or self.revision, events)
            case _:
                assert_never(op)
        return RangeResult(self.revision, tuple(found), count)

    def _put(self, op: Put, events: list[WatchEvent]) -> KeyValue | None:
        revision = self.revision + 1
        prev = self.keyspace.get(op.key)
        kv = KeyValue(
            op.key,
            op.value,
            prev.create_revision if prev else revision,
            revision,
            prev.version + 1 if prev else 1,
            op.lease,
        )
        self.keyspace.replace(op.key, kv)
        events.append(WatchEvent("put", kv, prev))
        return prev

    def _delete(self, key: bytes, events: list[WatchEvent]) -> KeyValue:
        prev = self.keyspace.replace(key, None)
        assert prev is not None
        events.append(WatchEvent("delete", deleted_at(key, self.revision + 1), prev))
        return prev

    def _finish(self, events: list[WatchEvent]) -> Written | None:
        if not events:
            return None
        self.revision += 1
        batch = WatchBatch(self.revision, tuple(events))
        self.history.append(batch)
        return Written(batch)

    def _view(self, op: Range, revision: int, unfinished: Iterable[WatchEvent]) -> _View:
        keys = self.keyspace.keys(op.key, op.end)
        older = self._older(op, revision, unfinished)
        if not older:
            return self._present(keys[: op.limit]), len(keys)
        kept = self._present([key for key in keys if key not in older])
        kept.extend(kv for kv in older.values() if kv is not None)
        kept.sort(key=lambda kv: kv.key)
        return kept[: op.limit], len(kept)

    def _present(self, keys: Iterable[bytes]) -> list[KeyValue]:
        return [kv for kv in map(self.keyspace.get, keys) if kv is not None]

    def _older(
        self, op: Range, revision: int, unfinished: Iterable[WatchEvent]
    ) -> Mapping[bytes, KeyValue | None]:
        """What lay under the range's keys that changed after *revision*."""
        older: dict[bytes, KeyValue | None] = {}
        newer = (batch.events for batch in self.history.newest_to(revision))
        # Newest first; within one revision a key changes once, so the order there is nothing.
        for events in (unfinished, *newer):
            for event in events:
                if covers(event.kv.key, op.key, op.end):
                    older[event.kv.key] = event.prev
        return older
