"""What a network does to messages: loses, delays, duplicates, reorders, cuts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from moreton.kernel.rng import Rng
from moreton.kernel.time import nanos_of

_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Faults:
    """How bad the network is; shares are in [0, 1]. Delays differ, so messages overtake."""

    lose: float = 0.0
    duplicate: float = 0.0
    delay_min: timedelta = _MILLISECOND
    delay_max: timedelta = 5 * _MILLISECOND
    linger: float = 0.0  # the share that is held up ten times as long
    in_order: bool = False  # each pair of nodes keeps its order, as TCP does


class SimNetwork:
    """Decides the fate of every message; counts what it did in `counts`."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.counts: Counter[str] = Counter()
        self._cuts: set[tuple[Hashable, Hashable]] = set()
        self._latest: dict[tuple[Hashable, Hashable], int] = {}

    def cut(self, sources: Iterable[Hashable], targets: Iterable[Hashable]) -> None:
        """Lose everything from any of *sources* to any of *targets*: one way only."""
        self._cuts |= {(a, b) for a in sources for b in list(targets) if a != b}

    def partition(self, *groups: Sequence[Hashable]) -> None:
        """Cut every group from every other, both ways."""
        for one in groups:
            for other in groups:
                if one is not other:
                    self.cut(one, list(other))

    def heal(self) -> None:
        """Undo every cut."""
        self._cuts.clear()

    def arrivals(self, source: Hashable, target: Hashable, nanos: int, rng: Rng) -> list[int]:
        """When a message sent at *nanos* arrives, in nanoseconds: once, twice or never."""
        self.counts["sent"] += 1
        if (source, target) in self._cuts:
            self.counts["cut"] += 1
            return []
        faults = self.faults
        if faults.lose and rng.random() < faults.lose:
            self.counts["lost"] += 1
            return []
        first = self._arrival(source, target, nanos, rng)
        if faults.duplicate and rng.random() < faults.duplicate:
            self.counts["duplicated"] += 1
            return [first, self._arrival(source, target, nanos, rng)]
        return [first]

    def _arrival(self, source: Hashable, target: Hashable, nanos: int, rng: Rng) -> int:
        faults = self.faults
        low = nanos_of(faults.delay_min)
        delay = low + int((nanos_of(faults.delay_max) - low) * rng.random())
        if faults.linger and rng.random() < faults.linger:
            self.counts["lingered"] += 1
            delay *= 10
        arrival = nanos + delay
        before = self._latest.get((source, target), 0)
        if faults.in_order:
            arrival = max(arrival, before)
        elif arrival < before:
            self.counts["reordered"] += 1
        self._latest[source, target] = max(arrival, before)
        return arrival
