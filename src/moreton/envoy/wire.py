"""Protobuf's wire format, as far as it is needed to join messages from serialised parts.

A message is the concatenation of its fields, so a big one can be made from parts that were
serialised once, and a changed part costs a copy instead of a serialisation. Knows no message.

Source: protobuf, "Encoding".
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any

_LENGTH_DELIMITED = 2
_HASH_BYTES = 12
# More new keys than this at once are sorted together instead of being inserted one by one.
_INSERTS_MAX = 32


def varint(number: int) -> bytes:
    """*number* >= 0 in base 128, the least significant group first."""
    if number < 0x80:
        return _ONE_BYTE[number]
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_ONE_BYTE = [bytes([number]) for number in range(0x80)]


def header(field: int, size: int) -> bytes:
    """What stands before the *size* bytes of the length-delimited field number *field*."""
    return varint(field << 3 | _LENGTH_DELIMITED) + varint(size)


def delimited(field: int, body: bytes) -> bytes:
    """The length-delimited field number *field* (a string, bytes or message)."""
    size = len(body)
    if size < 0x80 and field < 0x10:  # most of them
        return _ONE_BYTE[field << 3 | _LENGTH_DELIMITED] + _ONE_BYTE[size] + body
    return varint(field << 3 | _LENGTH_DELIMITED) + varint(size) + body


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


def digest(*parts: bytes) -> bytes:
    """A short hash of the concatenation of *parts*: the same in every process."""
    made = hashlib.blake2b(digest_size=_HASH_BYTES)
    for part in parts:
        made.update(part)
    return made.digest()


def content_hash(*parts: bytes) -> str:
    """A version: `digest` as text."""
    return digest(*parts).hex()


class Splice:
    """Serialised fields in the order of their keys, each kept with its hash.

    A change costs what it changes; `parts` and `digest` cost a walk over all fields, but no
    serialisation. *size* is the sum of the lengths of the fields.
    """

    def __init__(self) -> None:
        self.size = 0
        self._keys: list[str] = []
        self._parts: list[bytes] = []
        self._digests: list[bytes] = []
        self._held: dict[str, tuple[bytes, bytes]] = {}
        self._digest: bytes | None = None

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: str) -> bool:
        return key in self._held

    def get(self, key: str) -> tuple[bytes, bytes] | None:
        """The field of *key* and its hash."""
        return self._held.get(key)

    def keys_from(self, prefix: str) -> Iterable[str]:
        """The keys that begin with *prefix*, in order."""
        for index in range(bisect_left(self._keys, prefix), len(self._keys)):
            if not self._keys[index].startswith(prefix):
                return
            yield self._keys[index]

    def parts(self) -> list[bytes]:
        """The fields in the order of their keys; not to be changed."""
        return self._parts

    def digest(self) -> bytes:
        """A hash of the hashes of all fields."""
        if self._digest is None:
            self._digest = digest(b"".join(self._digests))
        return self._digest

    def update(self, put: Mapping[str, tuple[bytes, bytes]], removed: Iterable[str] = ()) -> None:
        """Put fields, each with its hash, and take others out; the absent are no fault."""
        self._digest = None
        for key in removed:
            self._remove(key)
        new = [key for key in put if key not in self._held]
        for key, (part, hashed) in put.items():
            before = self._held.get(key)
            if before is not None:
                index = bisect_left(self._keys, key)
                self._parts[index], self._digests[index] = part, hashed
                self.size -= len(before[0])
            self._held[key] = (part, hashed)
            self.size += len(part)
        if len(new) > _INSERTS_MAX:
            self._keys = sorted(self._held)
            self._parts = [self._held[key][0] for key in self._keys]
            self._digests = [self._held[key][1] for key in self._keys]
            return
        for key in new:
            index = bisect_left(self._keys, key)
            self._keys.insert(index, key)
            self._parts.insert(index, put[key][0])
            self._digests.insert(index, put[key][1])

    def _remove(self, key: str) -> None:
        before = self._held.pop(key, None)
        if before is None:
            return
        index = bisect_left(self._keys, key)
        del self._keys[index], self._parts[index], self._digests[index]
        self.size -= len(before[0])
