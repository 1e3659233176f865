"""Proxies that take turns under the same load: what each serves a second, and for how much CPU.

A turn is a fraction of a second, between two turns of the proxy that it is held against: a machine
that is slower for seconds is so for all three. One that halts now and then halts some of the turns,
and the median is of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from bench.h2load import h2load
from bench.processes import cpu_seconds_of, listening
from bench.report import median

CONNECTIONS = 32
TURN_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Turn:
    """Requests a second, and CPU microseconds for each."""

    rps: float
    cost: float


@dataclass(slots=True)
class Turns:
    """All turns by name of the proxy; of each held against another, with those around it."""

    taken: dict[str, list[Turn]] = field(default_factory=dict)
    held: dict[str, list[tuple[Turn, Turn, Turn]]] = field(default_factory=dict)
    failures: int = 0

    def lost(self, name: str) -> float:
        """The share in [0, 1] of requests a second that *name* does not serve."""
        return _lost((one.rps, (a.rps + b.rps) / 2) for a, one, b in self.held[name])

    def lost_cpu(self, name: str) -> float:
        """The share of requests by second of CPU that *name* does not serve."""
        return _lost(((a.cost + b.cost) / 2, one.cost) for a, one, b in self.held[name])

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


def take_turns(
    ports: Mapping[str, int],
    against: Mapping[str, str],
    rounds: int,
    say: Callable[[str], object],
) -> Turns:
    """Load from core 1, in *rounds*; *against* says for each proxy which other it is held to."""
    found = Turns({name: [] for name in ports}, {name: [] for name in against})
    pids = {name: listening(port) for name, port in ports.items()}

    def turn(name: str) -> Turn:
        before = cpu_seconds_of(pids[name])
        url = f"http://127.0.0.1:{ports[name]}/"
        run = h2load(url, seconds=TURN_SECONDS, connections=CONNECTIONS, cores="1")
        spent = cpu_seconds_of(pids[name]) - before
        found.failures += run.failures
        found.taken[name].append(Turn(run.rps, spent / max(1, run.done) * 1e6))
        return found.taken[name][-1]

    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for base in dict.fromkeys(against.values()):
            before = turn(base)
            for name in (name for name, its in against.items() if its == base):
                one, after = turn(name), turn(base)
                found.held[name].append((before, one, after))
                before = after
    return found


def _lost(pairs: Iterable[tuple[float, float]]) -> float:
    # A proxy that got no processor at all in its turn says nothing.
    return 1 - median([one / other for one, other in pairs if one and other])
