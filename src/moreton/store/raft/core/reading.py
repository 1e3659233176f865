"""Reading back what was packed: every length is checked before it is believed."""

from __future__ import annotations

import struct
from typing import Any

_U32 = struct.Struct(">I")
# Stands for a missing text: no text is so long.
NOTHING = 0xFFFFFFFF


class Reader:
    """A place in *data*. Each step raises `ValueError` when the data end before it."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self._at = at

    def take(self, layout: struct.Struct) -> tuple[Any, ...]:
        """The numbers that *layout* describes."""
        try:
            found = layout.unpack_from(self._data, self._at)
        except struct.error as error:
            raise self._short(layout.size) from error
        self._at += layout.size
        return found

    def text(self) -> bytes:
        """Bytes that follow their length."""
        found = self.optional_text()
        if found is None:
            message = f"a text is missing before byte {self._at} of {len(self._data)}"
            raise ValueError(message)
        return found

    def optional_text(self) -> bytes | None:
        """As `text`, or nothing."""
        (length,) = self.take(_U32)
        if length == NOTHING:
            return None
        end = self._at + length
        if end > len(self._data):
            raise self._short(length)
        found = self._data[self._at : end]
        self._at = end
        return found

    def finish(self) -> None:
        """Raises `ValueError` if something is left."""
        if self._at != len(self._data):
            message = f"{len(self._data) - self._at} bytes are left over at byte {self._at}"
            raise ValueError(message)

    def _short(self, wanted: int) -> ValueError:
        left = len(self._data) - self._at
        return ValueError(f"{wanted} bytes are wanted at byte {self._at} and {left} are there")


def pack_text(text: bytes | None) -> bytes:
    """*text* after its length; `Reader.optional_text` reads it."""
    return _U32.pack(NOTHING) if text is None else _U32.pack(len(text)) + text
