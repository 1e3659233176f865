"""Two never act at a time, whatever the network, the clocks and the scheduler do."""

from __future__ import annotations

from datetime import timedelta

import pytest

from moreton.election.core import tenure
from moreton.election.core.tenure import Renewed, Tenure, TenureEffect, TenureEvent
from moreton.kernel.rng import Rng
from moreton.kernel.time import Instant
from moreton.sim.world import WorldFault
from sim.election.lease_world import TTL, LeaseWorld, MakeTenure

# The store's clock is fast and the candidates' are slow by this share, the worst that may be.
DRIFT = 0.05
LENGTH = timedelta(seconds=30)


def make(rng: Rng, asked: Instant) -> Tenure:
    return Tenure(TTL, rng, asked=asked)


@pytest.mark.parametrize("seed", range(20))
def test_whoever_acts_is_the_one_whom_the_store_has(seed: int) -> None:
    world = LeaseWorld(seed, make, drift=DRIFT)
    world.run(LENGTH)
    assert world.acts > 250
    assert len(world.tokens) > 1
    assert any(candidate.losses for candidate in world.candidates.values())
    assert world.registrar.written == sorted(world.registrar.written)
    assert world.world.network.counts["cut"] > 0


class CountsFromTheAnswer(Tenure):
    """Broken: trusts a renewal from when its answer came."""

    def handle(self, event: TenureEvent, now: Instant) -> list[TenureEffect]:
        if isinstance(event, Renewed):
            event = Renewed(now, event.ttl)
        return list(super().handle(event, now))


def caught(broken: MakeTenure) -> bool:
    for seed in range(40):
        try:
            LeaseWorld(seed, broken, drift=DRIFT).run(LENGTH)
        except WorldFault:
            return True
    return False


def test_machine_that_counts_from_the_answer_is_caught() -> None:
    assert caught(lambda rng, asked: CountsFromTheAnswer(TTL, rng, asked=asked))


def test_machine_that_leaves_no_margin_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenure, "MARGIN", 0)
    assert caught(make)
