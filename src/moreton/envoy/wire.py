"""Protobuf's wire format, as far as it is needed to join messages from serialised parts.

A message is the concatenation of its fields, so a big one can be made from parts that were
serialised once. Source: protobuf, "Encoding".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

_LENGTH_DELIMITED = 2
_HASH_BYTES = 12


def varint(number: int) -> bytes:
    """*number* >= 0 in base 128, the least significant group first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def delimited(field: int, body: bytes) -> bytes:
    """The length-delimited field number *field* (a string, bytes or message)."""
    return varint(field << 3 | _LENGTH_DELIMITED) + varint(len(body)) + body


def delimited_parts(field: int, parts: Iterable[bytes]) -> bytes:
    """As `delimited`, of a body that is the concatenation of *parts*."""
    return delimited(field, b"".join(parts))


def serialize(message: Any) -> bytes:
    """The deterministic serialisation of *message*."""
    return bytes(message.SerializeToString(deterministic=True))


def any_bytes(message: Any) -> bytes:
    """The serialised `Any` that holds *message*."""
    url = f"type.googleapis.com/{message.DESCRIPTOR.full_name}"
    return delimited(1, url.encode()) + delimited(2, serialize(message))


def content_hash(*parts: bytes) -> str:
    """A version: the same for the same bytes in every process."""
    digest = hashlib.blake2b(digest_size=_HASH_BYTES)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
