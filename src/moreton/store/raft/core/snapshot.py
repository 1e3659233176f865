"""A replica as bytes, and back: what a node that lags far behind, or a restart, begins with."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from moreton.store.core.history import History
from moreton.store.core.keyspace import Keyspace
from moreton.store.core.model import KeyValue, Lease, LeaseId, WatchBatch, WatchEvent
from moreton.store.core.state import State
from moreton.store.raft.core.encoding import MICROSECOND
from moreton.store.raft.core.reading import Reader, pack_text
from moreton.store.raft.core.replica import Replica

FORMAT = 1
_HEAD = struct.Struct(">4sBQQQ")
_MAGIC = b"mrtS"
_COUNT = struct.Struct(">I")
_KEY = struct.Struct(">QQQQ")
_LEASE = struct.Struct(">QQ")
_BATCH = struct.Struct(">QI")
_EVENT = struct.Struct(">BB")
# What lay under a key before an event: nothing, what the history last said, or what follows.
_NOTHING, _AS_BEFORE, _FOLLOWS = range(3)


@dataclass(frozen=True, slots=True)
class Frozen:
    """A replica at one moment; its values never change, so that any thread may write it out."""

    term: int
    revision: int
    compact_revision: int
    kvs: Sequence[KeyValue]
    leases: Sequence[Lease]
    batches: Sequence[WatchBatch]

    def encode(self) -> bytes:
        """The bytes of a snapshot."""
        head = _HEAD.pack(_MAGIC, FORMAT, self.term, self.revision, self.compact_revision)
        return b"".join((head, *self._contents(), *self._history()))

    def _contents(self) -> Iterator[bytes]:
        yield _COUNT.pack(len(self.leases))
        for lease in self.leases:
            yield _LEASE.pack(lease.id, lease.ttl // MICROSECOND)
        yield _COUNT.pack(len(self.kvs))
        yield from map(_pack_key, self.kvs)

    def _history(self) -> Iterator[bytes]:
        last: dict[bytes, KeyValue | None] = {}
        yield _COUNT.pack(len(self.batches))
        for batch in self.batches:
            yield _BATCH.pack(batch.revision, len(batch.events))
            for event in batch.events:
                yield from _pack_event(event, last)


def freeze(replica: Replica) -> Frozen:
    """Hold *replica* fast: copies references, no contents."""
    state = replica.state
    return Frozen(
        term=replica.term,
        revision=state.revision,
        compact_revision=state.compact_revision,
        kvs=state.keyspace.everything(),
        leases=tuple(state.leases.values()),
        batches=state.history.batches(),
    )


def thaw(data: bytes) -> Replica:
    """The replica that was frozen. Raises `ValueError` for anything that is not one, whole."""
    reader = Reader(data)
    magic, found, term, revision, compact_revision = reader.take(_HEAD)
    if magic != _MAGIC or found != FORMAT:
        message = f"it begins with {magic!r} and format {found}, not with {_MAGIC!r} and {FORMAT}"
        raise ValueError(message)
    leases = [_read_lease(reader) for _ in range(*reader.take(_COUNT))]
    kvs = [_read_key(reader) for _ in range(*reader.take(_COUNT))]
    history = _read_history(reader, newest=revision)
    reader.finish()
    state = State(
        kvs=kvs,
        leases=leases,
        history=history,
        revision=revision,
        compact_revision=compact_revision,
    )
    _check(state)
    return Replica(state, term=term)


def _pack_key(kv: KeyValue) -> bytes:
    numbers = _KEY.pack(kv.create_revision, kv.mod_revision, kv.version, kv.lease or 0)
    return numbers + pack_text(kv.key) + pack_text(kv.value)


def _read_key(reader: Reader) -> KeyValue:
    created, modified, version, lease = reader.take(_KEY)
    key, value = reader.text(), reader.text()
    return KeyValue(key, value, created, modified, version, LeaseId(lease) if lease else None)


def _read_lease(reader: Reader) -> Lease:
    lease, ttl = reader.take(_LEASE)
    return Lease(LeaseId(lease), ttl * MICROSECOND)


def _pack_event(event: WatchEvent, last: dict[bytes, KeyValue | None]) -> Iterator[bytes]:
    key, prev = event.kv.key, event.prev
    how = _AS_BEFORE if last.get(key) == prev else _FOLLOWS
    if prev is None:
        how = _NOTHING
    yield _EVENT.pack(event.kind == "put", how)
    yield _pack_key(event.kv)
    if prev is not None and how == _FOLLOWS:
        yield _pack_key(prev)
    last[key] = event.kv if event.kind == "put" else None


def _read_event(reader: Reader, last: dict[bytes, KeyValue | None]) -> WatchEvent:
    is_put, how = reader.take(_EVENT)
    kv = _read_key(reader)
    prev = None
    if how == _AS_BEFORE:
        prev = last.get(kv.key)
    elif how == _FOLLOWS:
        prev = _read_key(reader)
    last[kv.key] = kv if is_put else None
    return WatchEvent("put" if is_put else "delete", kv, prev)


def _read_history(reader: Reader, *, newest: int) -> History:
    history = History()
    last: dict[bytes, KeyValue | None] = {}
    (count,) = reader.take(_COUNT)
    for left in range(count, 0, -1):
        revision, events = reader.take(_BATCH)
        if revision != newest - left + 1:
            message = f"its history has revision {revision} in place of {newest - left + 1}"
            raise ValueError(message)
        batch = tuple([_read_event(reader, last) for _ in range(events)])
        history.append(WatchBatch(revision, batch))
    return history


def _check(state: State) -> None:
    keyspace: Keyspace = state.keyspace
    for kv in keyspace.everything():
        if kv.lease is not None and kv.lease not in state.leases:
            message = f"key {kv.key!r} hangs on lease {kv.lease}, which is missing"
            raise ValueError(message)
