"""Random plans of sagas, all of them valid."""

from __future__ import annotations

from itertools import count

from moreton.kernel.rng import Rng
from moreton.transactions.saga.core.plan import (
    Attempts,
    Kind,
    Node,
    Parallel,
    Plan,
    Series,
    StepPlan,
)

_DEPTH_MAX = 3


def random_plan(rng: Rng) -> Plan:
    """A plan of some compensatable steps, then perhaps a pivot, then perhaps retriable steps."""
    numbers = count(1)
    parts: list[Node] = [
        _node(rng, Kind.COMPENSATABLE, numbers, 0) for _ in range(rng.randrange(4))
    ]
    if rng.random() < 0.6:
        parts.append(_step(rng, Kind.PIVOT, numbers))
    if rng.random() < 0.6:
        parts += [_node(rng, Kind.RETRIABLE, numbers, 1) for _ in range(1 + rng.randrange(2))]
    deadline = 60.0 if rng.random() < 0.2 else None
    return Plan("random", 1, Series(tuple(parts)), deadline=deadline)


def _node(rng: Rng, kind: Kind, numbers: count[int], depth: int) -> Node:
    if depth == _DEPTH_MAX or rng.random() < 0.6:
        return _step(rng, kind, numbers)
    parts = tuple(_node(rng, kind, numbers, depth + 1) for _ in range(1 + rng.randrange(3)))
    return Parallel(parts) if rng.random() < 0.6 else Series(parts)


def _step(rng: Rng, kind: Kind, numbers: count[int]) -> StepPlan:
    harmless = kind is Kind.COMPENSATABLE and rng.random() < 0.15
    return StepPlan(
        f"s{next(numbers)}",
        kind,
        has_undo=kind is Kind.COMPENSATABLE and not harmless,
        harmless=harmless,
        attempts=Attempts(1 + rng.randrange(3)),
        undo_attempts=Attempts(1 + rng.randrange(3)),
    )
