"""Many runs, one after another, and what they came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from moreton.consensus.core.node import RaftNode
from moreton.sim.consensus.cluster import Core
from moreton.sim.consensus.plan import draw_plan
from moreton.sim.consensus.run import ClusterFault, run_plan

# Whoever has so many has one cause for all.
FAULTS_MAX = 10


@dataclass(slots=True)
class Soaked:
    """What runs came to so far. *slowest* is the seed that took longest to come to rest."""

    runs: int = 0
    operations: int = 0
    unknown: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    timeouts: list[float] = field(default_factory=list)
    slowest: int = 0
    faults: list[ClusterFault] = field(default_factory=list)

    def run(self, seed: int, core: Core = RaftNode) -> None:
        """Run the plan of *seed* and add what it came to."""
        try:
            outcome = run_plan(draw_plan(seed), core)
        except ClusterFault as fault:
            self.runs += 1
            self.faults.append(fault)
            return
        self.runs += 1
        self.operations += outcome.operations
        self.unknown += outcome.unknown
        self.counts += outcome.counts
        if outcome.timeouts > max(self.timeouts, default=0):
            self.slowest = seed
        self.timeouts.append(outcome.timeouts)

    def document(self) -> dict[str, object]:
        """As JSON has it."""
        ranked = sorted(self.timeouts) or [0.0]
        return {
            "runs": self.runs,
            "violations": [str(fault) for fault in self.faults],
            "operations": self.operations,
            "unknown": self.unknown,
            "election_timeouts_to_rest": {
                "median": ranked[len(ranked) // 2],
                "p99": ranked[len(ranked) * 99 // 100],
                "max": ranked[-1],
                "seed_of_max": self.slowest,
            },
            "counts": dict(sorted(self.counts.items())),
        }


def soak(seeds: Iterable[int], core: Core = RaftNode) -> Iterator[Soaked]:
    """Run every seed; after each, what all came to so far. Ends early after `FAULTS_MAX` faults."""
    soaked = Soaked()
    for seed in seeds:
        soaked.run(seed, core)
        yield soaked
        if len(soaked.faults) >= FAULTS_MAX:
            return
