"""Frames that prove who sent them, and in which order.

Without TLS every frame carries a keyed BLAKE2b of its number and its content. The key is of one
connection and one direction, so nothing can be taken from elsewhere, repeated, left out or put
in. It costs a microsecond a frame and 2.4 ns a byte; one frame holds a whole batch of messages.
Nothing is encrypted: that is what TLS is for.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from hashlib import blake2b
from struct import Struct

from moreton.consensus.transport.core.framing import LENGTH
from moreton.consensus.transport.errors import BadFrame

TAG_BYTES = 16
_NUMBER = Struct("<Q")


class Sealer:
    """Makes frames of one direction; without *key* the connection itself vouches for them."""

    __slots__ = ("_base", "_number")

    def __init__(self, key: bytes | None) -> None:
        self._base = None if key is None else blake2b(key=key, digest_size=TAG_BYTES)
        self._number = 0

    def seal(self, items: Sequence[bytes]) -> bytes:
        """*items* as one frame, the next of its direction."""
        body = b"".join(items)
        if self._base is None:
            return LENGTH.pack(len(body)) + body
        tag = self._base.copy()
        tag.update(_NUMBER.pack(self._number))
        tag.update(body)
        self._number += 1
        return b"".join((LENGTH.pack(TAG_BYTES + len(body)), tag.digest(), body))


class Opener:
    """Checks frames of one direction."""

    __slots__ = ("_base", "_number")

    def __init__(self, key: bytes | None) -> None:
        self._base = None if key is None else blake2b(key=key, digest_size=TAG_BYTES)
        self._number = 0

    def open(self, frame: bytes) -> bytes:
        """The items of *frame*, if it is the next one. Raises `BadFrame`."""
        if self._base is None:
            return frame
        if len(frame) < TAG_BYTES:
            raise BadFrame(f"a frame of {len(frame)} bytes has no room for its seal")
        tag = self._base.copy()
        tag.update(_NUMBER.pack(self._number))
        body = frame[TAG_BYTES:]
        tag.update(body)
        if not hmac.compare_digest(tag.digest(), frame[:TAG_BYTES]):
            raise BadFrame(f"frame {self._number} was forged, changed, repeated or left out")
        self._number += 1
        return body
