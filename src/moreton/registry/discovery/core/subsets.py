"""Which few of many instances one client talks to."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from math import log

_SCALE = 2.0**64


def subset_of(weights: Mapping[str, float], key: str, size: int) -> list[str]:
    """*size* of the names in *weights* for the client *key*, best first: the same at every call.

    Rendezvous hashing: each name has a score of its own for each client, and the lowest are taken.
    So clients spread over the names in proportion to the weights, and a name that comes or goes
    changes at most one place of a client's subset. O(n log n).

    Source: Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998;
    weights as Schindelhauer and Schomaker, 2005; use for subsets: gRPC proposal A68.
    """
    ranked = sorted((_score(key, name, weight), name) for name, weight in weights.items())
    return [name for _, name in ranked[:size]]


def _score(key: str, name: str, weight: float) -> float:
    """An exponentially distributed number with rate *weight*, that follows from the names."""
    digest = blake2b(f"{key}\0{name}".encode(), digest_size=8).digest()
    uniform = (int.from_bytes(digest) + 0.5) / _SCALE
    return -log(uniform) / weight
