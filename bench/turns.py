"""Some that take turns under the same load: what each serves a second, and for how much CPU.

A turn is a fraction of a second, between two turns of what it is held against: a machine that is
slower for seconds is so for all three. What it halts is one of the three, each as often; the mean
of the logarithms of all ratios is then that of none. To leave out turns whose neighbours are
not alike would hold all against the fastest ones: slow ones are seldom alike. The turns come in
another order each round, after a pause that is not the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import TypeAlias

from bench.h2load import h2load
from bench.processes import cpu_seconds_of, listening
from bench.report import median

CONNECTIONS = 32
TURN_SECONDS = 0.25
_NORMAL_95 = 1.96
_PAUSES_SECONDS = (0.0, 0.35, 0.1, 0.45, 0.2)


@dataclass(frozen=True, slots=True)
class Turn:
    """Requests a second, and CPU microseconds for each."""

    rps: float
    cost: float


# Has the one of a name take its turn; beside it, how many of its requests failed.
TakeTurn: TypeAlias = Callable[[str], tuple[Turn, int]]


@dataclass(slots=True)
class Turns:
    """All turns by name of the proxy; of each held against another, with those around it."""

    taken: dict[str, list[Turn]] = field(default_factory=dict)
    held: dict[str, list[tuple[Turn, Turn, Turn]]] = field(default_factory=dict)
    failures: int = 0

    def add(self, other: Turns) -> None:
        """Take in those of another start."""
        for name, taken in other.taken.items():
            self.taken.setdefault(name, []).extend(taken)
        for name, held in other.held.items():
            self.held.setdefault(name, []).extend(held)
        self.failures += other.failures

    def lost(self, name: str) -> float:
        """The share in [0, 1] of requests a second that *name* does not serve."""
        return _lost(self._logs(name))

    def kept(self, name: str) -> tuple[float, float]:
        """From and to which share of requests a second *name* serves, at 95 % confidence."""
        logs = self._logs(name)
        if len(logs) < 2:
            return 0.0, math.inf
        wide = _NORMAL_95 * stdev(logs) / math.sqrt(len(logs))
        return math.exp(fmean(logs) - wide), math.exp(fmean(logs) + wide)

    def lost_cpu(self, name: str) -> float:
        """The share of requests by second of CPU that *name* does not serve."""
        # What costs more by so much serves less by so much.
        of = [(a, one, b) for a, one, b in self.held[name] if a.cost and one.cost and b.cost]
        return _lost(_logs((1 / one.cost, 1 / a.cost, 1 / b.cost) for a, one, b in of))

    def figures(self, name: str) -> dict[str, float]:
        """What is shown of *name*."""
        found = {
            f"{name}, requests/s": median([turn.rps for turn in self.taken[name]]),
            f"{name}, us of CPU a request": median([turn.cost for turn in self.taken[name]]),
        }
        if name in self.held:
            found[f"{name}, lost %, by requests/s"] = self.lost(name) * 100
            found[f"{name}, lost %, by requests by second of CPU"] = self.lost_cpu(name) * 100
        return found

    def _logs(self, name: str) -> list[float]:
        return _logs((one.rps, a.rps, b.rps) for a, one, b in self.held[name])


def under_load(ports: Mapping[str, int]) -> TakeTurn:
    """Turns of the proxies at *ports*, by name, loaded from core 1."""
    pids = {name: listening(port) for name, port in ports.items()}

    def turn(name: str) -> tuple[Turn, int]:
        before = cpu_seconds_of(pids[name])
        url = f"http://127.0.0.1:{ports[name]}/"
        run = h2load(url, seconds=TURN_SECONDS, connections=CONNECTIONS, cores="1")
        spent = cpu_seconds_of(pids[name]) - before
        return Turn(run.rps, spent / max(1, run.done) * 1e6), run.failures

    return turn


def take_turns(
    take: TakeTurn, against: Mapping[str, str], rounds: int, say: Callable[[str], object]
) -> Turns:
    """Turns in *rounds*; *against* says for each name which other it is held to."""
    names = dict.fromkeys([*against.values(), *against])
    found = Turns({name: [] for name in names}, {name: [] for name in against})

    def turn(name: str) -> Turn:
        taken, failures = take(name)
        found.failures += failures
        found.taken[name].append(taken)
        return taken

    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        time.sleep(_PAUSES_SECONDS[number % len(_PAUSES_SECONDS)])
        for base in dict.fromkeys(against.values()):
            before = turn(base)
            those = [name for name, its in against.items() if its == base]
            first = number % len(those)
            for name in those[first:] + those[:first]:
                one, after = turn(name), turn(base)
                found.held[name].append((before, one, after))
                before = after
    return found


def _logs(threes: Iterable[tuple[float, float, float]]) -> list[float]:
    """Of each one to the two around it."""
    # One that got no processor at all in its turn says nothing.
    return [math.log(one) - (math.log(a) + math.log(b)) / 2 for one, a, b in threes if one * a * b]


def _lost(logs: list[float]) -> float:
    """What is missing of one, beside the two around it."""
    return 1 - math.exp(fmean(logs)) if logs else 0.0
