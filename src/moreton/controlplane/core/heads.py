"""The heads of plain requests, read without an HTTP parser.

A client sends the very same head each time. Only the plainest form is read here: common headers,
none of them twice. Of anything else nothing is said: whoever can parse all of HTTP has to look.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

END = b"\r\n\r\n"
# Visible characters and blanks between them: nothing that two parsers could take for two things.
_HEADER = re.compile(rb"([A-Za-z-]{1,32}):[ \t]*([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)")
_NAMES = frozenset(
    {
        b"accept",
        b"accept-encoding",
        b"authorization",
        b"connection",
        b"content-length",
        b"content-type",
        b"host",
        b"user-agent",
    }
)
_NEEDED = frozenset({b"authorization", b"host"})
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,4}")
# Clients send the same headers each time; more different ones than this are not by chance.
_HEADS_MAX = 1024
_HEAD_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Head:
    """What matters of a head: how many bytes follow it, and of which type they are."""

    length: int
    content_type: bytes | None


class HeadReader:
    """Reads heads, from after the first line to the blank one.

    *is_allowed* judges the value of the header `authorization`.
    """

    def __init__(self, is_allowed: Callable[[bytes], bool]) -> None:
        self._is_allowed = is_allowed
        self._good: dict[bytes, Head] = {}

    def read(self, head: bytes) -> Head | None:
        """What *head* says, if it is plain and allowed."""
        return self._good.get(head) or self._read(head)

    def _read(self, head: bytes) -> Head | None:
        if len(head) > _HEAD_BYTES_MAX or not head.endswith(END):
            return None
        seen: dict[bytes, bytes] = {}
        for line in head[: -len(END)].split(b"\r\n"):
            found = _HEADER.fullmatch(line)
            if found is None or (name := found[1].lower()) not in _NAMES or name in seen:
                return None
            seen[name] = found[2]
        length = seen.get(b"content-length", b"0")
        is_good = (
            seen.keys() >= _NEEDED
            and _LENGTH.fullmatch(length) is not None
            and seen.get(b"connection", b"keep-alive").lower() == b"keep-alive"
            and self._is_allowed(seen[b"authorization"])
        )
        if not is_good:
            return None
        if len(self._good) >= _HEADS_MAX:
            self._good.clear()
        read = self._good[head] = Head(int(length), seen.get(b"content-type"))
        return read
