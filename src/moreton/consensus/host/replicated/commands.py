"""The commands that share one entry, and the numbers that let each be applied once.

A batch: format u8, node u64, nonce u64 (of the proposer's boot), oldest u64 (its lowest number that
is not decided yet), count u32; then of each command: number - oldest u32, length u32, bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import TypeAlias

from moreton.consensus.core.messages import NodeId

_HEAD = Struct("<BQQQI")
_FORMAT = 1
_ITEM = Struct("<II")

# What a command takes in an entry beside its bytes.
COMMAND_OVERHEAD_BYTES = _ITEM.size
# How far the numbers under way may lie apart.
NUMBERS_APART_MAX = 2**32 - 1

# Whose numbers they are: a node, and the nonce of its boot.
SessionId: TypeAlias = tuple[NodeId, int]


@dataclass(frozen=True, slots=True)
class Batch:
    """The *commands* of one entry, each with its number in the session."""

    session: SessionId
    oldest: int
    commands: Sequence[tuple[int, bytes]]


def encode_batch(session: SessionId, oldest: int, commands: Iterable[tuple[int, bytes]]) -> bytes:
    """The data of one entry; *oldest* is not above any number of *commands*."""
    pack = _ITEM.pack
    parts = [b""]
    for number, command in commands:
        parts.append(pack(number - oldest, len(command)))
        parts.append(command)
    parts[0] = _HEAD.pack(_FORMAT, *session, oldest, len(parts) // 2)
    return b"".join(parts)


def decode_batch(data: bytes) -> Batch:
    """What `encode_batch` made *data* of. Raises `ValueError` if it did not."""
    try:
        version, node, nonce, oldest, count = _HEAD.unpack_from(data)
        if version != _FORMAT:
            raise ValueError(f"a batch has format {version} and this version knows {_FORMAT}")
        unpack, offset = _ITEM.unpack_from, _HEAD.size
        commands = []
        for _ in range(count):
            number, length = unpack(data, offset)
            start = offset + 8
            offset = start + length
            commands.append((oldest + number, data[start:offset]))
    except struct.error as error:
        raise ValueError(f"{len(data)} bytes are not a batch of commands") from error
    if offset != len(data):
        raise ValueError(f"a batch of {offset} bytes is in an entry of {len(data)}")
    return Batch((node, nonce), oldest, commands)
