"""The steps by which a store's durable state moves on: what a backend has to make last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from moreton.store.core.model import Lease, WatchBatch


@dataclass(frozen=True, slots=True)
class Written:
    """A transaction wrote *batch*."""

    batch: WatchBatch


@dataclass(frozen=True, slots=True)
class LeaseGranted:
    """A lease began."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class LeaseRevoked:
    """A lease ended, and *batch* deleted its keys; `None` if it had none."""

    lease: Lease
    batch: WatchBatch | None


@dataclass(frozen=True, slots=True)
class HistoryCompacted:
    """History below *revision* ended; *dead* are the records, (revision, key), it leaves behind."""

    revision: int
    dead: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class NothingChanged:
    """Nothing: for a reader that must wait until what it read is durable."""


Change: TypeAlias = Written | LeaseGranted | LeaseRevoked | HistoryCompacted | NothingChanged


def payload_bytes(change: Change) -> int:
    """The keys and values that *change* carries."""
    match change:
        case Written(batch) | LeaseRevoked(_, WatchBatch() as batch):
            return sum(len(event.kv.key) + len(event.kv.value) for event in batch.events)
        case _:
            return 0
