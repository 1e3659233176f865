"""Members die, stall, come back and lose each other; the survivors agree."""

from __future__ import annotations

from datetime import timedelta

import pytest

from moreton.election.ring.core.algorithms import Algorithm
from moreton.kernel.rng import seeded_rng
from moreton.sim.network import Faults
from sim.election.ring_world import RingWorld, shuffled_ring

ROUGH = Faults(lose=0.1, duplicate=0.1, linger=0.05)
EVERY = pytest.mark.parametrize("algorithm", list(Algorithm))


@EVERY
@pytest.mark.parametrize("seed", range(5))
def test_largest_uid_leads_when_nobody_fails(algorithm: Algorithm, seed: int) -> None:
    ring = RingWorld(seed, shuffled_ring(seed, 7), algorithm=algorithm)
    ring.begin()
    decision = ring.until_agreed()
    assert decision.leader == max(ring.uids)
    assert (decision.epoch, decision.token) == (1, 2)


@EVERY
@pytest.mark.parametrize("seed", range(5))
def test_survivors_agree_when_the_leader_dies(algorithm: Algorithm, seed: int) -> None:
    ring = RingWorld(seed, shuffled_ring(seed, 7), algorithm=algorithm)
    ring.begin()
    first = ring.until_agreed()
    ring.crash(first.leader)
    second = ring.until_agreed()
    assert second.leader == sorted(ring.uids)[-2]
    assert second.epoch > first.epoch
    assert (second.token or 0) > (first.token or 0)


@EVERY
@pytest.mark.parametrize("seed", range(12))
def test_survivors_agree_when_members_die_during_the_election(
    algorithm: Algorithm, seed: int
) -> None:
    rng = seeded_rng(seed)
    ring = RingWorld(seed, shuffled_ring(seed, 8), algorithm=algorithm, faults=ROUGH)
    doomed = [max(ring.uids), *rng.sample(sorted(ring.uids)[:-1], 2)]
    for uid in doomed:
        ring.world.at(timedelta(milliseconds=rng.uniform(0, 60)), lambda u=uid: ring.crash(u))  # type: ignore[misc]
    ring.begin(ring.uids[0])
    ring.world.run(timedelta(milliseconds=60))
    assert ring.world.crashes == 3
    if doomed[0] in ring.uids and ring.member(ring.uids[0]) is None:
        ring.begin(*(member.uid for member in ring.living()))
    decision = ring.until_agreed()
    assert decision.leader not in doomed
