"""The keys as they are now, in order, and the leases they hang on."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence

from moreton.store.core.keys import NO_END
from moreton.store.core.model import KeyValue, LeaseId


class Keyspace:
    """A sorted map from keys to their newest values.

    Inserting a key moves the pointers above it: microseconds up to 10^5 keys.
    """

    def __init__(self, kvs: Iterable[KeyValue] = ()) -> None:
        self._values = {kv.key: kv for kv in kvs}
        self._keys = sorted(self._values)
        # Most leases have one key, which needs no set of its own.
        self._attached: dict[LeaseId, bytes | set[bytes]] = {}
        for kv in self._values.values():
            self._attach(kv)

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, key: bytes) -> KeyValue | None:
        """The value under *key*."""
        return self._values.get(key)

    def everything(self) -> Sequence[KeyValue]:
        """All of it now, in no order: a copy of the references."""
        return tuple(self._values.values())

    def keys(self, start: bytes, end: bytes | None) -> Sequence[bytes]:
        """The keys of the range, in order."""
        if end is None:
            return (start,) if start in self._values else ()
        first = bisect_left(self._keys, start)
        if end == NO_END:
            return self._keys[first:]
        return self._keys[first : bisect_left(self._keys, end, lo=first)] if end > start else ()

    def replace(self, key: bytes, kv: KeyValue | None) -> KeyValue | None:
        """Set *key*, or remove it by `None`; gives back what lay there."""
        prev = self._values.get(key)
        if prev is not None:
            self._detach(prev)
        if kv is not None:
            if prev is None:
                insort(self._keys, key)
            self._values[key] = kv
            self._attach(kv)
        elif prev is not None:
            del self._values[key]
            del self._keys[bisect_left(self._keys, key)]
        return prev

    def attached(self, lease: LeaseId) -> Sequence[bytes]:
        """The keys that hang on *lease*, in order."""
        found = self._attached.get(lease, ())
        return [found] if isinstance(found, bytes) else sorted(found)

    def _attach(self, kv: KeyValue) -> None:
        if kv.lease is None:
            return
        keys = self._attached.setdefault(kv.lease, kv.key)
        if isinstance(keys, set):
            keys.add(kv.key)
        elif keys != kv.key:
            self._attached[kv.lease] = {keys, kv.key}

    def _detach(self, kv: KeyValue) -> None:
        if kv.lease is None:
            return
        keys = self._attached[kv.lease]
        if isinstance(keys, set):
            keys.remove(kv.key)
        if not keys or keys == kv.key:
            del self._attached[kv.lease]
