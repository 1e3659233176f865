"""Renewals as clients send them, read without an HTTP parser.

A fleet renews thousands of times a second, and each client sends the very same bytes each time.
Only the plainest form is read here: one whole request without a body and with common headers, none
of them twice. Of anything else nothing is said: whoever can parse all of HTTP has to look at it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# Names as `moreton.registry.core.instance` allows them, without any escape.
_REQUEST = re.compile(
    rb"PUT /v1/services/([a-z0-9-]{1,63})/instances/([A-Za-z0-9][A-Za-z0-9._:-]{0,127})/lease"
    rb" HTTP/1\.1\r\n"
)
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
_END = b"\r\n\r\n"
# Clients send the same headers each time; more different ones than this are not by chance.
_HEADS_MAX = 1024
_HEAD_BYTES_MAX = 4096


class RenewalReader:
    """Reads requests `PUT /v1/services/{service}/instances/{id}/lease`.

    *is_allowed* judges the value of the header `authorization`.
    """

    def __init__(self, is_allowed: Callable[[bytes], bool]) -> None:
        self._is_allowed = is_allowed
        self._good: set[bytes] = set()

    def read(self, data: bytes) -> tuple[str, str] | None:
        """Service and id, if *data* is one whole such request that is allowed, and no more."""
        found = _REQUEST.match(data)
        if found is None:
            return None
        head = data[found.end() :]
        if head not in self._good and not self._is_good(head):
            return None
        return found[1].decode(), found[2].decode()

    def _is_good(self, head: bytes) -> bool:
        if len(head) > _HEAD_BYTES_MAX or not head.endswith(_END):
            return False
        seen: dict[bytes, bytes] = {}
        for line in head[: -len(_END)].split(b"\r\n"):
            found = _HEADER.fullmatch(line)
            if found is None or (name := found[1].lower()) not in _NAMES or name in seen:
                return False
            seen[name] = found[2]
        is_good = (
            seen.keys() >= _NEEDED
            and seen.get(b"content-length", b"0") == b"0"
            and seen.get(b"connection", b"keep-alive").lower() == b"keep-alive"
            and self._is_allowed(seen[b"authorization"])
        )
        if is_good:
            if len(self._good) >= _HEADS_MAX:
                self._good.clear()
            self._good.add(head)
        return is_good
