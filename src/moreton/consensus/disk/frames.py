"""Frames of a segment: each is one write, and is found whole, torn by a crash, or damaged.

A frame is written and synced before the next one is begun. So a crash can tear only the last, and
it does so in two ways: the file ends too early, or sectors of it are still zero. Anything else that
does not fit was changed later, and is damage.

A frame is a header of 16 bytes, its payload, and 1 to 16 bytes `FF` up to a multiple of 16. The
header: length u32 of the stored payload; number u32 in the segment from 1, its highest bit set if
the payload is stuffed; checksum u32 of the payload, which continues the one before; checksum u32 of
the header, which begins with the segment's salt, so that no payload can pass for a frame.

So that data are never taken for a sector that was not written, a payload with 255 zeros in a row is
stuffed: one `FF` after every 255 bytes. Then no single flipped bit can look like a torn write.

Checksums are CRC-32 (zlib). Everything is little-endian.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from zlib import crc32

ALIGNMENT = 16
# The smallest unit that a disk writes whole.
SECTOR_BYTES = 512
_HEAD = Struct("<IIII")
_HEAD_CHECKED = Struct("<III")
HEAD_BYTES = _HEAD.size
_STUFFED = 1 << 31
_RUN = 255
_ZEROS = bytes(_RUN)
_NOTHING = bytes(HEAD_BYTES)


class Damaged(Exception):
    """What is at *offset* was changed after it was written."""

    def __init__(self, offset: int, reason: str) -> None:
        self.offset = offset
        self.reason = reason
        super().__init__(f"{reason} at {offset}")


@dataclass(slots=True)
class Chain:
    """Where a segment stands: what the next frame is sealed with."""

    salt: int
    checksum: int  # of all payloads so far
    number: int = 0  # of the last frame

    def seal(self, payload: bytes) -> bytes:
        """The next frame, with *payload*."""
        self.number += 1
        self.checksum = crc32(payload, self.checksum)
        flag = 0
        if _ZEROS in payload:
            payload, flag = _stuff(payload), _STUFFED
        checked = _HEAD_CHECKED.pack(len(payload), self.number | flag, self.checksum)
        head = checked + crc32(checked, self.salt).to_bytes(4, "little")
        return b"".join((head, payload, b"\xff" * _padding(len(payload))))


@dataclass(frozen=True, slots=True)
class Scanned:
    """The payloads of a segment's whole frames, and where they end."""

    payloads: list[bytes]
    end: int
    chain: Chain
    torn: bool  # something that a crash interrupted follows after *end*


def scan(data: bytes, start: int, chain: Chain) -> Scanned:
    """The frames in *data* from *start*; raises `Damaged` unless all but the last are whole."""
    payloads: list[bytes] = []
    offset = start
    while offset < len(data):
        head = data[offset : offset + HEAD_BYTES]
        if len(head) < HEAD_BYTES or head == _NOTHING:
            _check_nothing_follows(data, offset, chain)
            return Scanned(payloads, offset, chain, torn=True)
        length, number, checksum = _open_head(head, offset, chain)
        end = offset + HEAD_BYTES + length + _padding(length)
        payload = _open_payload(data, offset, length, stuffed=bool(number & _STUFFED))
        if len(data) < end or payload is None or crc32(payload, chain.checksum) != checksum:
            if _is_torn(data, offset, end):
                return Scanned(payloads, offset, chain, torn=True)
            raise Damaged(offset, "a checksum does not match")
        payloads.append(payload)
        chain = Chain(chain.salt, checksum, chain.number + 1)
        offset = end
    return Scanned(payloads, offset, chain, torn=False)


def _padding(length: int) -> int:
    return ALIGNMENT - length % ALIGNMENT


def _stuff(payload: bytes) -> bytes:
    return b"\xff".join(payload[i : i + _RUN] for i in range(0, len(payload), _RUN))


def _open_head(head: bytes, offset: int, chain: Chain) -> tuple[int, int, int]:
    length, number, checksum, sealed = _HEAD.unpack(head)
    if crc32(head[:-4], chain.salt) != sealed:
        raise Damaged(offset, "the header's checksum does not match")
    if number & ~_STUFFED != chain.number + 1:
        raise Damaged(offset, f"frame {number & ~_STUFFED} stands where {chain.number + 1} fits")
    return length, number, checksum


def _open_payload(data: bytes, offset: int, length: int, *, stuffed: bool) -> bytes | None:
    """The payload of the frame at *offset*; `None` if what stands around it is not as written."""
    start = offset + HEAD_BYTES
    stored = data[start : start + length]
    padding = data[start + length : start + length + _padding(length)]
    if padding.strip(b"\xff"):
        return None
    if not stuffed:
        return stored
    if stored[_RUN :: _RUN + 1].strip(b"\xff"):
        return None
    return b"".join(stored[i : i + _RUN] for i in range(0, length, _RUN + 1))


def _is_torn(data: bytes, start: int, end: int) -> bool:
    """Whether the frame in [*start*, *end*) looks as a crash leaves it, and is the last."""
    if len(data) < end:
        return True
    if data[end:].strip(b"\0"):
        return False
    return any(not data[a:b].strip(b"\0") for a, b in _sectors(start, end))


def _sectors(start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end:
        stop = min(end, (start // SECTOR_BYTES + 1) * SECTOR_BYTES)
        yield start, stop
        start = stop


def _check_nothing_follows(data: bytes, offset: int, chain: Chain) -> None:
    """A later frame proves that what is missing at *offset* was there."""
    for at in range(offset + ALIGNMENT, len(data) - HEAD_BYTES + 1, ALIGNMENT):
        head = data[at : at + HEAD_BYTES]
        if head != _NOTHING and crc32(head[:-4], chain.salt) == int.from_bytes(head[-4:], "little"):
            raise Damaged(offset, f"nothing is there, but a frame follows at {at}")
