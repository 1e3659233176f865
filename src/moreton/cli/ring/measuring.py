"""Messages counted in simulated elections, beside what the theory says."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from moreton.election.ring.core import theory
from moreton.election.ring.core.algorithms import Algorithm
from moreton.election.ring.core.lap import elect
from moreton.election.ring.core.ring import Uid
from moreton.kernel.rng import seeded_rng

BULLY_MAX = 512


class Order(Enum):
    """How the UIDs lie on the ring, and who begins."""

    FALLING = "falling"  # clockwise, all begin
    RISING = "rising"
    SHUFFLED = "shuffled"  # drawn, all begin
    AFTER_LARGEST = "after the largest"  # falling, and the largest's clockwise neighbour begins
    SMALLEST = "smallest"  # the smallest begins


@dataclass(frozen=True, slots=True)
class Case:
    """One curve: an algorithm in an order, and the literature's count for it."""

    name: str
    algorithm: Algorithm
    order: Order
    expected: Callable[[int], float]
    is_bound: bool = False  # the count stays below, and need not be equal
    nodes_max: int = 1 << 20


CASES = (
    Case("LCR, worst", Algorithm.LCR, Order.FALLING, theory.lcr_worst),
    Case("LCR, average", Algorithm.LCR, Order.SHUFFLED, theory.lcr_average),
    Case("LCR, best", Algorithm.LCR, Order.RISING, theory.lcr_best),
    Case(
        "Chang-Roberts, one begins",
        Algorithm.CHANG_ROBERTS,
        Order.AFTER_LARGEST,
        theory.chang_roberts_worst,
    ),
    Case(
        "Hirschberg-Sinclair",
        Algorithm.HIRSCHBERG_SINCLAIR,
        Order.SHUFFLED,
        theory.hirschberg_sinclair_bound,
        is_bound=True,
    ),
    Case(
        "bully, smallest begins",
        Algorithm.BULLY,
        Order.SMALLEST,
        theory.bully_worst,
        nodes_max=BULLY_MAX,
    ),
)


@dataclass(frozen=True, slots=True)
class Point:
    """*measured* messages with *nodes* (the mean of the orders drawn), and the theory's count."""

    nodes: int
    measured: float
    largest: int
    expected: float

    @property
    def ratio(self) -> float:
        """Measured by expected."""
        return self.measured / self.expected if self.expected else 1.0


def measure(case: Case, nodes: int, *, rounds: int, seed: int = 0) -> Point:
    """Elect among *nodes*: *rounds* times where the order is drawn, else once."""
    counts = [
        elect(uids, case.algorithm, initiators=initiators).messages
        for uids, initiators in _rings(case.order, nodes, rounds, seed)
    ]
    return Point(nodes, statistics.fmean(counts), max(counts), case.expected(nodes))


def _rings(
    order: Order, nodes: int, rounds: int, seed: int
) -> Iterator[tuple[Sequence[Uid], Sequence[int] | None]]:
    rising = [Uid(number) for number in range(1, nodes + 1)]
    match order:
        case Order.RISING:
            yield rising, None
        case Order.FALLING:
            yield rising[::-1], None
        case Order.AFTER_LARGEST:
            yield rising[::-1], [1 % nodes]
        case Order.SMALLEST:
            yield rising, [0]
        case Order.SHUFFLED:
            for number in range(rounds):
                shuffled = list(rising)
                seeded_rng(f"{seed} {nodes} {number}").shuffle(shuffled)
                yield shuffled, None
