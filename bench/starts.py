"""Turns taken anew by fresh processes: the layout of one process's memory is no part of a result.

What a proxy costs differs by several percent from one start to the next, for as long as it runs:
where its memory lies decides what its caches hold. So all of them are started several times. The
result is the mean of all turns, beside how far it may be off (the standard error of the starts'
own means) and the least and the most of the starts. What is within that of a bound is undecided.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from bench.report import median
from bench.turns import Turns


@dataclass(frozen=True, slots=True)
class Starts:
    """The turns of each start, and of all of them as if they were one."""

    of: list[Turns]
    together: Turns

    @property
    def failures(self) -> int:
        """How many requests failed."""
        return self.together.failures

    @property
    def names(self) -> list[str]:
        """All that took turns."""
        return list(self.together.taken)

    def lost(self, name: str) -> float:
        """The share of requests a second that *name* does not serve."""
        return self.together.lost(name)

    def lost_cpu(self, name: str) -> float:
        """As `lost`, of requests by second of CPU."""
        return self.together.lost_cpu(name)

    def figures(self, name: str) -> dict[str, float | str]:
        """What is shown of *name*."""
        turns = self.together.taken[name]
        found: dict[str, float | str] = {
            f"{name}, requests/s": median([turn.rps for turn in turns]),
            f"{name}, us of CPU a request": median([turn.cost for turn in turns]),
        }
        if name in self.together.held:
            shares = [one.lost(name) for one in self.of]
            found[f"{name}, lost %, by requests/s"] = _told(self.lost(name), shares)
            shares = [one.lost_cpu(name) for one in self.of]
            found[f"{name}, lost %, by CPU"] = _told(self.lost_cpu(name), shares)
        return found


def take_starts(count: int, take: Callable[[int], Turns]) -> Starts:
    """*count* starts; *take* makes everything anew and has the turns taken, for its number."""
    together, starts = Turns(), []
    for number in range(count):
        turns = take(number)
        starts.append(turns)
        together.failures += turns.failures
        for name, taken in turns.taken.items():
            together.taken.setdefault(name, []).extend(taken)
        for name, held in turns.held.items():
            together.held.setdefault(name, []).extend(held)
    return Starts(starts, together)


def _told(mean: float, shares: list[float]) -> str:
    """*mean* of the *shares* of the starts, in percent: `2.8 ± 0.9 (1.1 to 5.0)`."""
    error = statistics.stdev(shares) / math.sqrt(len(shares)) if len(shares) > 1 else math.inf
    least, most = min(shares) * 100, max(shares) * 100
    return f"{mean * 100:.1f} ± {error * 100:.1f} ({least:.1f} to {most:.1f})"
