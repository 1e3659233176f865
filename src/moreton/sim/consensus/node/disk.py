"""What a node finds on its disk when it starts: its log folded, and its snapshots.

The log is a file of records, in the order of the writes; of those that were not synced a crash
keeps any number, and maybe tears the next. A snapshot is a file of its own, whole or not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

from moreton.consensus.core.events import Persist
from moreton.consensus.core.messages import Entry, HardState, SnapshotMeta
from moreton.consensus.core.state import Recovered
from moreton.sim.consensus.node.registers import Contents
from moreton.sim.disk import Torn


@dataclass(frozen=True, slots=True)
class Dropped:
    """The entries up to *index* are not needed any more."""

    index: int


Record: TypeAlias = Entry | HardState | SnapshotMeta | Dropped | Torn


def records_of(persist: Persist) -> list[Record]:
    """What *persist* asks for, as records in the order in which they must become durable."""
    records: list[Record] = []
    if persist.snapshot is not None:
        records.append(persist.snapshot)
    records += persist.entries
    if persist.hard_state is not None:
        records.append(persist.hard_state)
    return records


@dataclass(slots=True)
class Shelf:
    """The snapshots of one node, by index, and its state machine if that outlives crashes."""

    snapshots: dict[int, tuple[SnapshotMeta, Contents]] = field(default_factory=dict)
    machine: Contents | None = None

    def keep(self, snapshot: SnapshotMeta, contents: Contents) -> None:
        """From now on the newest, unless there is a later one."""
        self.snapshots[snapshot.index] = (snapshot, contents)

    def contents(self, snapshot: SnapshotMeta) -> Contents:
        """The data of *snapshot*."""
        return self.snapshots[snapshot.index][1]

    def newest(self) -> SnapshotMeta | None:
        """The newest one."""
        return self.snapshots[max(self.snapshots)][0] if self.snapshots else None


def recover(first: Recovered, records: Sequence[Record], shelf: Shelf) -> Recovered:
    """What a node starts from that began with *first*: the log as far as it is whole.

    A snapshot that the log does not lead to replaces it; before anything follows, the host must
    write `SnapshotMeta` after it.
    """
    snapshot, entries, hard_state = _fold(first, records)
    newest = shelf.newest()
    if newest is not None and newest.index > snapshot.index:
        snapshot = newest
        if not _leads_to(entries, newest):
            entries = []
    applied = 0 if shelf.machine is None else shelf.machine.applied
    return Recovered(hard_state, snapshot, tuple(entries), applied)


def must_replace(first: Recovered, records: Sequence[Record], recovered: Recovered) -> bool:
    """Whether what follows *recovered* would not follow the log of *records*."""
    snapshot, entries, _ = _fold(first, records)
    newest = recovered.snapshot
    return newest.index > snapshot.index and not _leads_to(entries, newest)


def _leads_to(entries: Sequence[Entry], snapshot: SnapshotMeta) -> bool:
    if not entries or entries[0].index == snapshot.index + 1:
        return bool(entries)
    return any((entry.index, entry.term) == (snapshot.index, snapshot.term) for entry in entries)


def _fold(
    first: Recovered, records: Iterable[Record]
) -> tuple[SnapshotMeta, list[Entry], HardState]:
    snapshot, hard_state = first.snapshot, first.hard_state
    entries = list(first.entries)
    for record in records:
        match record:
            case Entry(index=index):
                if entries:
                    del entries[max(0, index - entries[0].index) :]
                entries.append(record)
            case HardState():
                hard_state = record
            case SnapshotMeta():
                snapshot, entries = record, []
            case Dropped(index):
                entries = [entry for entry in entries if entry.index > index]
            case Torn():
                # Its checksum does not hold: nothing that follows is read. What the node writes
                # next comes in its place.
                continue
            case _:
                assert_never(record)
    return snapshot, entries, hard_state
