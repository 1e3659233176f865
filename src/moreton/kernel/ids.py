"""Identifiers that sort by the time of their making."""

from __future__ import annotations

from datetime import datetime

from moreton.kernel.rng import Rng

# Crockford's base 32: no I, L, O, U, so that people can read an id aloud.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
# Two characters at a time.
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]


def new_id(wall: datetime, rng: Rng) -> str:
    """A 26-character id: 48 bits of *wall* in milliseconds, then 80 random bits.

    Ids made in different milliseconds sort by time. Source: the ULID specification, in lower case.
    """
    t, r, of = int(wall.timestamp() * 1000), rng.getrandbits(80), _PAIRS
    # Written out it takes half as long; who writes many events notices.
    return (
        f"{of[t >> 40 & 1023]}{of[t >> 30 & 1023]}{of[t >> 20 & 1023]}{of[t >> 10 & 1023]}"
        f"{of[t & 1023]}{of[r >> 70]}{of[r >> 60 & 1023]}{of[r >> 50 & 1023]}"
        f"{of[r >> 40 & 1023]}{of[r >> 30 & 1023]}{of[r >> 20 & 1023]}{of[r >> 10 & 1023]}"
        f"{of[r & 1023]}"
    )
