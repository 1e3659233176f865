"""Two proxies under load at the same time on one core: what one costs beside the other.

In turns of a quarter of a second two Envoys of the same configuration differed by 12 to 20 percent
from turn to turn (standard deviation; by CPU 12), whatever was done about where their memory lies:
the machine itself is now faster and now slower. At the same time it is so for both. So both are
loaded at once, and the kernel shares the core between them, by milliseconds; what is compared is
the CPU that each takes for a request, of which a busy core's requests a second are the inverse.

All are started anew many times: the layout of one process's memory is no part of a result. The
result is the median of the starts, beside the interval that holds the true one in 95 of 100 runs,
whatever the starts are spread like. What has a bound within it is undecided.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias

from bench.h2load import H2loadFigures, h2load
from bench.processes import cpu_seconds_of, listening
from bench.report import median

CONNECTIONS = 32
SECONDS = 0.7
_SURE = 0.95
# Microseconds of CPU a request: of what it is held against, and of the one.
Pair: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Lost:
    """The share of requests that one does not serve beside another, and where the true one is."""

    share: float
    least: float
    most: float

    def __str__(self) -> str:
        """In percent: `2.8 (1.1 to 5.0)`."""
        return f"{self.share * 100:.1f} ({self.least * 100:.1f} to {self.most * 100:.1f})"


@dataclass(slots=True)
class Start:
    """The pairs of one start, by name of what is held against another."""

    pairs: dict[str, list[Pair]] = field(default_factory=dict)
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Starts:
    """All starts."""

    of: Sequence[Start]

    @property
    def failures(self) -> int:
        """How many requests failed."""
        return sum(start.failures for start in self.of)

    @property
    def names(self) -> list[str]:
        """All that were held against another."""
        return list(self.of[0].pairs)

    def lost(self, name: str) -> Lost:
        """Of requests by second of CPU."""
        return _over_starts(
            [median([math.log(base / one) for base, one in each.pairs[name]]) for each in self.of]
        )

    def figures(self, name: str) -> dict[str, float | str]:
        """What is shown of *name*."""
        pairs = [pair for start in self.of for pair in start.pairs[name]]
        return {
            f"{name}, us of CPU a request": median([one for _, one in pairs]),
            f"{name}, us of CPU a request without": median([base for base, _ in pairs]),
            f"{name}, lost %": str(self.lost(name)),
        }

    def undecided(self, name: str, bound: float) -> list[str]:
        """A note where the interval of *name* has *bound* within it."""
        found = self.lost(name)
        if not found.least < bound < found.most:
            return []
        return [f"{name}: {found} % is undecided beside {bound:.0%}"]


def take_starts(count: int, take: Callable[[int], Start]) -> Starts:
    """*count* starts; *take* makes the processes anew and has pairs taken, for its number."""
    return Starts([take(number) for number in range(count)])


def take_pairs(
    ports: Mapping[str, int],
    against: Mapping[str, str],
    rounds: int,
    say: Callable[[str], object],
) -> Start:
    """*rounds* of pairs of the proxies at *ports*; *against* says for each to which it is held."""
    pids = {name: listening(port) for name, port in ports.items()}
    found = Start({name: [] for name in against})

    def load(name: str) -> H2loadFigures:
        url = f"http://127.0.0.1:{ports[name]}/"
        return h2load(url, seconds=SECONDS, connections=CONNECTIONS, cores="1")

    with ThreadPoolExecutor(2) as both:
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for name, base in against.items():
                # The one that is loaded first is another one each time.
                names = (base, name)[:: -1 if number % 2 else 1]
                before = {each: cpu_seconds_of(pids[each]) for each in names}
                runs = dict(zip(names, both.map(load, names), strict=True))
                cost = {
                    each: (cpu_seconds_of(pids[each]) - before[each]) / max(1, runs[each].done)
                    for each in names
                }
                found.pairs[name].append((cost[base] * 1e6, cost[name] * 1e6))
                found.failures += sum(run.failures for run in runs.values())
    return found


def _over_starts(logs: Sequence[float]) -> Lost:
    """The median of *logs*, and the ranks that hold the true one, as shares that are lost."""
    ranked = sorted(logs, reverse=True)
    outside = _outside(len(ranked))
    least, most = ranked[outside], ranked[-1 - outside]
    return Lost(*(1 - math.exp(one) for one in (statistics.median(ranked), least, most)))


def _outside(count: int) -> int:
    """How many of *count* may be left out at either end.

    Each is below the true median as likely as above: so many on one side are a matter of coins.
    """
    out, chance = 0, 0.0
    for below in range(count // 2):
        chance += 2 * math.comb(count, below) / 2**count
        if chance > 1 - _SURE:
            break
        out = below
    return out
