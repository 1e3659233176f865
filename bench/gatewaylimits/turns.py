"""Proxies that take turns under the same load: what each serves a second, and for how much CPU.

A turn is a fraction of a second, and what two proxies differ is the median over pairs of turns of
one round: a machine that halts now and then halts some turns, and the median is of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.h2load import h2load
from bench.processes import cpu_seconds_of, listening
from bench.report import median

CONNECTIONS = 32
TURN_SECONDS = 0.25


@dataclass(slots=True)
class Turns:
    """By name of the proxy: requests a second of each turn, and CPU microseconds a request."""

    rps: dict[str, list[float]] = field(default_factory=dict)
    costs: dict[str, list[float]] = field(default_factory=dict)
    failures: int = 0

    def lost(self, name: str, base: str) -> float:
        """The share in [0, 1] of *base*'s requests a second that *name* does not serve."""
        return 1 - _of_pairs(self.rps[name], self.rps[base])

    def lost_cpu(self, name: str, base: str) -> float:
        """The share of *base*'s requests by second of CPU that *name* does not serve."""
        return 1 - _of_pairs(self.costs[base], self.costs[name])

    def figures(self, name: str) -> dict[str, float]:
        """What is shown of *name*."""
        return {
            f"{name}, requests/s": median(self.rps[name]),
            f"{name}, us of CPU a request": median(self.costs[name]),
        }


def take_turns(ports: Mapping[str, int], rounds: int, say: Callable[[str], object]) -> Turns:
    """Load from core 1, in *rounds* each of which has another order."""
    found = Turns({name: [] for name in ports}, {name: [] for name in ports})
    pids = {name: listening(port) for name, port in ports.items()}
    order = list(ports)
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        turn = number % len(order)
        turned = order[turn:] + order[:turn]
        # There and back: who follows whom is not the same each time.
        for name in turned if number % 2 else reversed(turned):
            before = cpu_seconds_of(pids[name])
            url = f"http://127.0.0.1:{ports[name]}/"
            run = h2load(url, seconds=TURN_SECONDS, connections=CONNECTIONS, cores="1")
            spent = cpu_seconds_of(pids[name]) - before
            found.rps[name].append(run.rps)
            found.costs[name].append(spent / max(1, run.done) * 1e6)
            found.failures += run.failures
    return found


def _of_pairs(runs: list[float], others: list[float]) -> float:
    """What *runs* are of the *others*, each of the other of its round."""
    # A proxy that got no processor at all in its turn says nothing.
    return median([one / other for one, other in zip(runs, others, strict=True) if one and other])
