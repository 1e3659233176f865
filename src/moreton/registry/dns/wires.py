"""Messages as bytes: where a question ends, and addresses that are moved or added."""

from __future__ import annotations

from collections.abc import Sequence
from socket import AF_INET, AF_INET6, inet_pton

from moreton.kernel.rng import Rng

HEADER_BYTES = 12
# The name of the question, which every message has at the same place (RFC 1035, section 4.1.4).
_OWNER = b"\xc0\x0c"
_ADDRESSES = {b"\x00\x01", b"\x00\x1c"}  # A and AAAA
_IPV6_BYTES = 16
_FIXED_BYTES = 12  # of a record with that owner: owner, type, class, ttl, length


def reordered(response: bytes, end: int, count: int, rng: Rng) -> list[bytes]:
    """*response* with its addresses in *count* orders at random; its question ends at *end*.

    Nothing if it has other records: only addresses stand for themselves, while a name may be
    written as a place in the message.
    """
    number = int.from_bytes(response[6:8], "big")
    records = []
    at = end
    for _ in range(number):
        if response[at : at + 2] != _OWNER or response[at + 2 : at + 4] not in _ADDRESSES:
            return []
        size = _FIXED_BYTES + int.from_bytes(response[at + 10 : at + 12], "big")
        records.append(response[at : at + size])
        at += size
    if len(records) < 2:
        return [response] * count
    head, rest = response[:end], response[at:]
    return [
        b"".join([head, *sorted(records, key=lambda _: rng.random()), rest]) for _ in range(count)
    ]


def with_more(response: bytes, addresses: Sequence[str], size: int) -> bytes | None:
    """*response*, which has one address, with *addresses* of its family beside that one.

    `None` if that does not fit into *size*.
    """
    end = question_end(response)
    if end is None or response[end : end + 2] != _OWNER:
        return None
    fixed = response[end : end + _FIXED_BYTES]
    length = int.from_bytes(fixed[-2:], "big")
    at = end + _FIXED_BYTES + length
    if len(response) + len(addresses) * (_FIXED_BYTES + length) > size:
        return None
    family = AF_INET6 if length == _IPV6_BYTES else AF_INET
    number = (1 + len(addresses)).to_bytes(2, "big")
    more = (fixed + inet_pton(family, each) for each in addresses)
    return b"".join([response[:6], number, response[8:at], *more, response[at:]])


def question_end(wire: bytes) -> int | None:
    """Where the one question of *wire* ends; `None` if it is not a plain one."""
    if wire[4:6] != b"\x00\x01":
        return None
    position = HEADER_BYTES
    while position < len(wire):
        length = wire[position]
        if length == 0:
            end = position + 5  # the root, the type and the class
            return end if end <= len(wire) else None
        if length > 63:
            return None
        position += 1 + length
    return None
