"""The memory of a process that stays: a collection looks at what is new, and holds up nobody."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

_FULL = 2  # the oldest generation
_SECONDS_BETWEEN_ALL = 3600.0


class Settling:
    """Sets aside what survives a full collection.

    A full collection looks at every object there is: with ten thousand instances that took 150 ms
    in which nothing was answered, again and again while the registry grew. What survived one is
    hardly ever garbage in cycles later; all of it is looked at again once an hour.
    """

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._all_at = seconds()

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        """One of `gc.callbacks`."""
        if info["generation"] != _FULL:
            return
        if phase == "stop":
            gc.freeze()
        elif self._seconds() - self._all_at >= _SECONDS_BETWEEN_ALL:
            self._all_at = self._seconds()
            gc.unfreeze()


def settle_memory() -> None:
    """What was loaded stays, and is not looked at: next to nothing of it is garbage."""
    gc.callbacks.append(Settling())
    gc.freeze()
    gc.enable()
