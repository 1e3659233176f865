"""Recovery: the durable log folded back into a state, and checked on the way."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter

from moreton.store.core.history import History, without_prev
from moreton.store.core.model import KeyValue, Lease, WatchBatch, WatchEvent
from moreton.store.core.state import FIRST_REVISION, State


class BrokenLog(Exception):
    """The records do not follow from one another: some are missing or were changed."""


def fold(
    records: Iterable[WatchEvent], *, leases: Iterable[Lease] = (), compact_revision: int = 0
) -> State:
    """The state that wrote *records*, which come in order of revision, then as made.

    Their *prev* is not looked at. Raises `BrokenLog`.
    """
    present: dict[bytes, KeyValue] = {}
    history = History()
    revision = max(FIRST_REVISION, compact_revision)
    for found, group in groupby(records, key=attrgetter("kv.mod_revision")):
        events = tuple([_replay(record, present, compact_revision) for record in group])
        if found > compact_revision and found != revision + 1:
            message = f"revision {found} follows {revision}"
            raise BrokenLog(message)
        revision = max(revision, found)
        if found > compact_revision:
            history.append(WatchBatch(found, events))
        elif found == compact_revision:
            history.append(without_prev(WatchBatch(found, events)))
    state = State(
        kvs=present.values(),
        leases=leases,
        history=history,
        revision=revision,
        compact_revision=compact_revision,
    )
    _check_leases(state, present.values())
    return state


def _replay(
    record: WatchEvent, present: dict[bytes, KeyValue], compact_revision: int
) -> WatchEvent:
    kv = record.kv
    prev = present.pop(kv.key, None)
    if record.kind == "put":
        present[kv.key] = kv
        expected = prev.version + 1 if prev else 1
        # Before the compaction, gaps are its work.
        if kv.mod_revision > compact_revision and kv.version != expected:
            message = f"version {kv.version} of key {kv.key!r} follows {expected - 1}"
            raise BrokenLog(message)
    return WatchEvent(record.kind, kv, prev)


def _check_leases(state: State, kvs: Iterable[KeyValue]) -> None:
    for kv in kvs:
        if kv.lease is not None and kv.lease not in state.leases:
            message = f"key {kv.key!r} hangs on lease {kv.lease}, which is missing"
            raise BrokenLog(message)
