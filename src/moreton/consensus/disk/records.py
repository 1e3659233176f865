"""What a frame holds: records, and what folding all of them in order comes to.

A record is one byte, its kind, and its content as in `moreton.consensus.codec`:
1 a hard state, 2 entries, 3 a snapshot that replaced the log.
"""

from __future__ import annotations

from collections.abc import Iterable

from moreton.consensus.codec import (
    decode_entries,
    decode_hard_state,
    decode_snapshot,
    encode_entries,
    encode_hard_state,
    encode_snapshot,
)
from moreton.consensus.core.events import Persist
from moreton.consensus.core.messages import Entry, HardState, SnapshotMeta

_HARD_STATE = b"\x01"
_ENTRIES = b"\x02"
_SNAPSHOT = b"\x03"


def encode_records(records: Iterable[Persist]) -> bytes:
    """One payload for all *records*; of hard states only the last counts."""
    parts: list[bytes] = []
    hard_state: HardState | None = None
    for record in records:
        if record.snapshot is not None:
            parts += (_SNAPSHOT, encode_snapshot(record.snapshot))
        if record.entries:
            parts += (_ENTRIES, encode_entries(record.entries))
        hard_state = record.hard_state or hard_state
    if hard_state is not None:
        parts += (_HARD_STATE, encode_hard_state(hard_state))
    return b"".join(parts)


class Folded:
    """The log so far, and what was voted."""

    def __init__(self) -> None:
        self.hard_state = HardState()
        self.entries: list[Entry] = []
        self.replaced_at = 0  # the index of the newest snapshot that replaced the log

    @property
    def last_index(self) -> int:
        """The index of the last entry, or of the snapshot that stands for all."""
        return self.entries[-1].index if self.entries else self.replaced_at

    def add(self, payload: bytes) -> int:
        """Fold one frame in; the highest index it holds. Raises `ValueError` if it does not fit."""
        offset, highest = 0, 0
        while offset < len(payload):
            kind, offset = payload[offset : offset + 1], offset + 1
            if kind == _ENTRIES:
                entries, offset = decode_entries(payload, offset)
                self._add_entries(entries)
                highest = max(highest, entries[-1].index if entries else 0)
            elif kind == _HARD_STATE:
                self.hard_state, offset = decode_hard_state(payload, offset)
            elif kind == _SNAPSHOT:
                snapshot, offset = decode_snapshot(payload, offset)
                self.replace(snapshot)
                highest = max(highest, snapshot.index)
            else:
                raise ValueError(f"a record is of kind {kind.hex()}, which nobody knows")
        return highest

    def replace(self, snapshot: SnapshotMeta) -> None:
        """*snapshot* stands for everything so far."""
        self.entries, self.replaced_at = [], snapshot.index

    def leads_to(self, snapshot: SnapshotMeta) -> bool:
        """Whether what follows *snapshot* follows this log too: its last entry is in it, say."""
        if not self.entries:
            return not 0 < self.replaced_at < snapshot.index
        offset = snapshot.index - self.entries[0].index
        if offset < 0:
            return True
        return offset < len(self.entries) and self.entries[offset].term == snapshot.term

    def _add_entries(self, entries: tuple[Entry, ...]) -> None:
        if not entries:
            return
        first = entries[0].index
        for index, entry in enumerate(entries, first):
            if entry.index != index:
                raise ValueError(f"entry {entry.index} stands where {index} fits")
        if self.entries:
            kept = first - self.entries[0].index
            if kept > len(self.entries):
                raise ValueError(f"entry {first} follows entry {self.last_index}")
            del self.entries[max(kept, 0) :]
        elif self.replaced_at and first > self.replaced_at + 1:
            raise ValueError(f"entry {first} follows the snapshot at {self.replaced_at}")
        self.entries += entries
