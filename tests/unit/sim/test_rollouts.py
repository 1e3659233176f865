"""Migrations in virtual time end as they should; the hundreds of them are `bench rollouts`."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest

from moreton.sim.rollouts import Storm, Truth, World, endings, hits
from moreton.strangler.rollout.core.plan import ErrorGate, LatencyGate, Plan, Stage
from moreton.strangler.rollout.core.progress import Phase

pytestmark = pytest.mark.slow

STAGES = tuple(Stage(str(share), share, timedelta(seconds=10)) for share in (0.1, 0.5, 1.0))
ERRORS = Plan("m", "r", "old", "new", STAGES, (ErrorGate(),))
TIMES = Plan("m", "r", "old", "new", STAGES, (LatencyGate(),))
FLAT = Truth(0.002, spread=0.0)


@pytest.mark.parametrize(
    ("plan", "world", "ending"),
    [
        (ERRORS, World(FLAT, FLAT, every=5.0), Phase.DONE),
        (ERRORS, World(FLAT, FLAT, every=5.0, storm=Storm(10, 60, 0.3)), Phase.DONE),
        (ERRORS, World(FLAT, Truth(0.022, spread=0.0), every=5.0), Phase.ROLLED_BACK),
        (TIMES, World(every=5.0), Phase.DONE),
        (TIMES, World(candidate=Truth(median=24.0), every=5.0), Phase.ROLLED_BACK),
    ],
    ids=["equal", "storm", "errors", "equal times", "slower"],
)
def test_migration_ends_as_the_candidate_deserves(plan: Plan, world: World, ending: Phase) -> None:
    assert [each.phase for each in endings(plan, world, 2)] == [ending, ending]


def test_broken_candidate_is_taken_back_within_three_seconds() -> None:
    world = World(FLAT, Truth(1.0, spread=0.0), rate=50.0, every=0.5)
    breaking = World(FLAT, FLAT, rate=50.0, every=0.5, breaks=90.0)
    for each in [*endings(ERRORS, world, 10), *endings(ERRORS, breaking, 5)]:
        assert each.phase is Phase.ROLLED_BACK
        assert each.seconds_since_failure <= 3.0


@pytest.mark.parametrize("chance", [0.0, 0.01, 0.3, 0.9, 1.0])
def test_hits_come_as_often_as_their_chance_says(chance: float) -> None:
    found = hits(Random(1), 100_000, chance)
    assert abs(found / 100_000 - chance) < 0.005
