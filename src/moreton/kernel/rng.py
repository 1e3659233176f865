"""Randomness that can be repeated."""

from __future__ import annotations

import random
from typing import Protocol


class Rng(Protocol):
    """A source of random numbers that a core is given, so that a seed repeats a run."""

    def random(self) -> float:
        """A float uniform in [0, 1)."""
        ...

    def uniform(self, low: float, high: float, /) -> float:
        """A float uniform in [low, high]."""
        ...

    def getrandbits(self, bits: int, /) -> int:
        """An integer uniform in [0, 2**bits)."""
        ...

    def randrange(self, stop: int, /) -> int:
        """An integer uniform in [0, stop)."""
        ...


def seeded_rng(seed: int | str) -> random.Random:
    """A generator whose numbers follow from *seed* alone."""
    return random.Random(seed)  # noqa: S311 - repeatability is the point; secrets use `secrets`


def system_rng() -> random.Random:
    """A generator seeded by the operating system: for jitter and ids, not for secrets."""
    return random.Random()  # noqa: S311 - as above
