"""Bytes for what disks and wires both hold: entries, hard states, configurations, snapshots.

All integers are little-endian and unsigned; nothing here has a checksum or a version: the frame
around it has. Every decoder takes bytes and an offset, returns what it read and the offset after
it, and raises `ValueError` if the bytes end too early or mean nothing.

| what | layout |
|---|---|
| entries | count u32, then of each: term u64, index u64, kind u8, length u32, data |
| hard state | term u64, vote u64 (0 for none), commit u64 |
| configuration | auto_leave u8, then of each of its four sets, as declared: count u32, ids u64 |
| snapshot | index u64, term u64, configuration |
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from struct import Struct

from moreton.consensus.core.messages import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    NodeId,
    SnapshotMeta,
)

_COUNT = Struct("<I")
_ENTRY = Struct("<QQBI")
_HARD_STATE = Struct("<QQQ")
_SNAPSHOT = Struct("<QQ")
_FLAG = Struct("<B")

# What an entry takes beside its data.
ENTRY_HEADER_BYTES = _ENTRY.size
_KINDS = tuple(EntryKind)


def encode_entries(entries: Sequence[Entry]) -> bytes:
    """Any number of *entries*, whatever their indices: those of a forwarded proposal are 0."""
    pack = _ENTRY.pack
    parts = [_COUNT.pack(len(entries))]
    for entry in entries:
        data = entry.data
        parts.append(pack(entry.term, entry.index, entry.kind, len(data)))
        parts.append(data)
    return b"".join(parts)


def decode_entries(data: bytes, offset: int = 0) -> tuple[tuple[Entry, ...], int]:
    """What `encode_entries` made."""
    count, offset = _unpack_count(data, offset)
    unpack, header_bytes, end = _ENTRY.unpack_from, _ENTRY.size, len(data)
    entries = []
    try:
        for _ in range(count):
            term, index, kind, length = unpack(data, offset)
            start = offset + header_bytes
            offset = start + length
            if offset > end:
                raise ValueError(f"an entry of {length} bytes reaches beyond the end at {end}")
            entries.append(Entry(term, index, _KINDS[kind], data[start:offset]))
    except struct.error as error:
        raise ValueError(f"{count} entries do not fit before the end at {end}") from error
    except IndexError as error:
        raise ValueError(f"an entry at {offset} is of a kind that nobody knows") from error
    return tuple(entries), offset


def encode_hard_state(state: HardState) -> bytes:
    """24 bytes."""
    return _HARD_STATE.pack(state.term, state.vote or 0, state.commit)


def decode_hard_state(data: bytes, offset: int = 0) -> tuple[HardState, int]:
    """What `encode_hard_state` made."""
    try:
        term, vote, commit = _HARD_STATE.unpack_from(data, offset)
    except struct.error as error:
        raise ValueError(f"no hard state fits after {offset}, before {len(data)}") from error
    return HardState(term, vote or None, commit), offset + _HARD_STATE.size


def encode_configuration(configuration: Configuration) -> bytes:
    """The ids in ascending order: equal configurations have equal bytes."""
    return b"".join(
        (
            _FLAG.pack(configuration.auto_leave),
            _encode_nodes(configuration.voters),
            _encode_nodes(configuration.outgoing),
            _encode_nodes(configuration.learners),
            _encode_nodes(configuration.learners_next),
        )
    )


def decode_configuration(data: bytes, offset: int = 0) -> tuple[Configuration, int]:
    """What `encode_configuration` made."""
    if offset >= len(data) or data[offset] > 1:
        raise ValueError(f"no configuration begins at {offset}")
    auto_leave = bool(data[offset])
    voters, offset = _decode_nodes(data, offset + 1)
    outgoing, offset = _decode_nodes(data, offset)
    learners, offset = _decode_nodes(data, offset)
    learners_next, offset = _decode_nodes(data, offset)
    return Configuration(voters, outgoing, learners, learners_next, auto_leave), offset


def encode_snapshot(snapshot: SnapshotMeta) -> bytes:
    """What a snapshot is of; its data travel beside it."""
    head = _SNAPSHOT.pack(snapshot.index, snapshot.term)
    return head + encode_configuration(snapshot.configuration)


def decode_snapshot(data: bytes, offset: int = 0) -> tuple[SnapshotMeta, int]:
    """What `encode_snapshot` made."""
    try:
        index, term = _SNAPSHOT.unpack_from(data, offset)
    except struct.error as error:
        raise ValueError(f"no snapshot fits after {offset}, before {len(data)}") from error
    configuration, offset = decode_configuration(data, offset + _SNAPSHOT.size)
    return SnapshotMeta(index, term, configuration), offset


def _encode_nodes(nodes: Iterable[NodeId]) -> bytes:
    ids = sorted(nodes)
    return Struct(f"<I{len(ids)}Q").pack(len(ids), *ids)


def _decode_nodes(data: bytes, offset: int) -> tuple[frozenset[NodeId], int]:
    count, offset = _unpack_count(data, offset)
    end = offset + 8 * count
    if end > len(data):
        raise ValueError(f"{count} node ids reach beyond the end at {len(data)}")
    return frozenset(Struct(f"<{count}Q").unpack_from(data, offset)), end


def _unpack_count(data: bytes, offset: int) -> tuple[int, int]:
    try:
        (count,) = _COUNT.unpack_from(data, offset)
    except struct.error as error:
        raise ValueError(f"no count fits after {offset}, before {len(data)}") from error
    return count, offset + _COUNT.size
