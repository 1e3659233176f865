"""Identifiers that sort by the time of their making."""

from __future__ import annotations

from datetime import datetime

from moreton.kernel.rng import Rng

# Crockford's base 32: no I, L, O, U, so that people can read an id aloud.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
# Two characters at a time.
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_TIME_CHARS = 10
_RANDOM_CHARS = 16


def new_id(wall: datetime, rng: Rng) -> str:
    """A 26-character id: 48 bits of *wall* in milliseconds, then 80 random bits.

    Ids made in different milliseconds sort by time. Source: the ULID specification, in lower case.
    """
    millis = int(wall.timestamp() * 1000)
    return _base32(millis, _TIME_CHARS) + _base32(rng.getrandbits(80), _RANDOM_CHARS)


def _base32(number: int, chars: int) -> str:
    shifts = range(5 * (chars - 2), -1, -10)
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in shifts])
