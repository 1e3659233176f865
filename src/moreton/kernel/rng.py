"""Randomness that can be repeated."""

from __future__ import annotations

import os
import random
from typing import Protocol
from weakref import WeakSet


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
    """A generator seeded by the operating system: for jitter and ids, not for secrets.

    One that was made before a fork is seeded anew in the child: servers fork after they have loaded
    the application, and ids drawn twice would make one event, or one saga, of two.
    """
    found = random.Random()  # noqa: S311 - as above
    _OF_SYSTEM.add(found)
    return found


_OF_SYSTEM: WeakSet[random.Random] = WeakSet()


def _seed_anew() -> None:
    for each in tuple(_OF_SYSTEM):
        each.seed()


if hasattr(os, "register_at_fork"):  # where processes fork at all
    os.register_at_fork(after_in_child=_seed_anew)
