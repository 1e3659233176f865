"""The state of the control plane: a small store with etcd's model.

Use it for what several parts must agree on and be told of: objects, instances, elections. Not for
the data of an application, nor for values above 1.5 MiB or more than some 100,000 keys: all of
it is held in memory.

Guarantees: a write that returned is on disk; transactions are atomic and totally ordered by
revision; a watch misses nothing, repeats nothing and never splits a revision; a lease lives at
least its time to live.

    store = open_store("sqlite:///state.sqlite")
    lease = await store.grant(timedelta(seconds=10))
    free = [Compare.version(b"leader", "=", 0)]
    won = await store.txn(free, [Put(b"leader", b"me", lease)], [Range(b"leader")])
    now = await store.range(b"jobs/", prefix_end(b"jobs/"))
    async with store.watch(b"jobs/", prefix_end(b"jobs/"), from_revision=now.revision + 1) as jobs:
        async for batch in jobs:
            ...
"""

from moreton.store.core.keys import prefix_end
from moreton.store.core.model import (
    Compare,
    Delete,
    KeyValue,
    LeaseId,
    Put,
    Range,
    RangeResult,
    TxnResult,
    WatchBatch,
    WatchEvent,
)
from moreton.store.opening import is_shared, open_store
from moreton.store.protocol import Store, StoreStatistics

__all__ = [
    "Compare",
    "Delete",
    "KeyValue",
    "LeaseId",
    "Put",
    "Range",
    "RangeResult",
    "Store",
    "StoreStatistics",
    "TxnResult",
    "WatchBatch",
    "WatchEvent",
    "is_shared",
    "open_store",
    "prefix_end",
]
