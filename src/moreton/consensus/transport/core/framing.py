"""Frames: a length of four bytes, then so many bytes; and the items that a frame holds.

An item is a length of four bytes, a kind of one byte, and so many bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from moreton.consensus.transport.errors import BadFrame

LENGTH = Struct("<I")
ITEM = Struct("<IB")
LENGTH_BYTES = LENGTH.size
ITEM_BYTES = ITEM.size


class Frames:
    """Cuts a stream of bytes into frames of *limit* bytes at most."""

    __slots__ = ("_parts", "_size", "_wanted", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._wanted = LENGTH_BYTES

    @property
    def is_between(self) -> bool:
        """Whether no frame has begun that is not whole."""
        return self._size == 0

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that *data* make whole. Raises `BadFrame`.

        Cost: each byte is copied once or twice, however small the pieces.
        """
        self._parts.append(data)
        self._size += len(data)
        if self._size < self._wanted:
            return []
        joined = data if len(self._parts) == 1 else b"".join(self._parts)
        frames: list[bytes] = []
        start, size = 0, self._size
        self._wanted = LENGTH_BYTES
        while size - start >= LENGTH_BYTES:
            (length,) = LENGTH.unpack_from(joined, start)
            if length > self.limit:
                raise BadFrame(f"a frame of {length} bytes, where {self.limit} are the most")
            end = start + LENGTH_BYTES + length
            if end > size:
                self._wanted = LENGTH_BYTES + length
                break
            frames.append(joined[start + LENGTH_BYTES : end])
            start = end
        self._size = size - start
        self._parts = [joined[start:]] if self._size else []
        return frames


def frame(body: bytes) -> bytes:
    """*body* with its length."""
    return LENGTH.pack(len(body)) + body


def item(kind: int, body: bytes = b"") -> bytes:
    """*body* as an item of *kind*."""
    return ITEM.pack(len(body), kind) + body


def items(body: bytes) -> Iterator[tuple[int, int, int]]:
    """The kind, start and end of each item in *body*. Raises `BadFrame`."""
    start, size = 0, len(body)
    while start < size:
        if size - start < ITEM_BYTES:
            raise BadFrame(f"{size - start} bytes are left over after the last item of a frame")
        length, kind = ITEM.unpack_from(body, start)
        start += ITEM_BYTES
        end = start + length
        if end > size:
            raise BadFrame(f"an item of {length} bytes reaches beyond its frame")
        yield kind, start, end
        start = end
