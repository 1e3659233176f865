"""Members die, stall, come back and lose each other; the survivors agree.

What must hold at every moment is in `ring_world`: an epoch has one leader, tokens only grow, and
nobody follows a leader whom the store does not have.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from moreton.election.ring.core.algorithms import Algorithm
from moreton.election.ring.core.frames import Arrived, Carry, Decision
from moreton.election.ring.core.ring import Announcement, Candidate, Direction, Message, Reply, Uid
from moreton.kernel.rng import seeded_rng
from moreton.sim.network import Faults
from sim.election.ring_world import RingWorld, shuffled_ring

ROUGH = Faults(lose=0.1, duplicate=0.1, linger=0.05)
DEAD = Uid(99)
EVERY = pytest.mark.parametrize("algorithm", list(Algorithm))


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


@EVERY
@pytest.mark.parametrize("seed", range(5))
def test_largest_uid_leads_when_nobody_fails(algorithm: Algorithm, seed: int) -> None:
    ring = RingWorld(seed, shuffled_ring(seed, 7), algorithm=algorithm)
    ring.begin()
    decision = ring.until_agreed()
    assert decision.leader == max(ring.uids)
    assert (decision.epoch, decision.token) == (1, 2)


@EVERY
def test_one_member_that_begins_is_enough(algorithm: Algorithm) -> None:
    for beginner in range(7):
        ring = RingWorld(beginner, shuffled_ring(3, 7), algorithm=algorithm)
        ring.begin(ring.uids[beginner])
        assert ring.until_agreed().leader == max(ring.uids)


@EVERY
@pytest.mark.parametrize("seed", range(8))
def test_members_agree_over_a_rough_network(algorithm: Algorithm, seed: int) -> None:
    ring = RingWorld(seed, shuffled_ring(seed, 9), algorithm=algorithm, faults=ROUGH)
    ring.begin()
    ring.until_agreed()
    assert ring.world.network.counts["lost"]
    assert ring.world.network.counts["duplicated"]


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
    ring.begin()
    for uid in doomed:
        ring.world.run(timedelta(milliseconds=rng.uniform(0, 15)))
        ring.crash(uid)
    assert ring.world.crashes == 3
    assert ring.until_agreed().leader not in doomed


@EVERY
def test_only_two_of_nine_survive_and_agree(algorithm: Algorithm) -> None:
    ring = RingWorld(5, shuffled_ring(5, 9), algorithm=algorithm)
    ring.begin()
    ring.until_agreed()
    survivors = sorted(ring.uids)[:2]
    ring.crash(*(uid for uid in ring.uids if uid not in survivors))
    assert ring.until_agreed().leader in survivors


@EVERY
def test_last_survivor_leads_itself(algorithm: Algorithm) -> None:
    ring = RingWorld(5, shuffled_ring(5, 5), algorithm=algorithm)
    ring.begin()
    ring.until_agreed()
    ring.crash(*(uid for uid in ring.uids if uid != Uid(1)))
    assert ring.until_agreed().leader == Uid(1)


@EVERY
@pytest.mark.parametrize("seed", range(6))
def test_restarted_members_learn_who_leads_and_change_nothing(
    algorithm: Algorithm, seed: int
) -> None:
    ring = RingWorld(seed, shuffled_ring(seed, 6), algorithm=algorithm, faults=ROUGH)
    ring.begin()
    top = max(ring.uids)
    ring.crash(top)
    second = ring.until_agreed()
    ring.world.restart(top)
    ring.begin(top)
    after = ring.until_agreed()
    assert ring.member(top) is not None
    assert after.epoch >= second.epoch


@pytest.mark.parametrize(
    ("algorithm", "orphan"),
    [
        (Algorithm.LCR, Candidate(DEAD)),
        (Algorithm.CHANG_ROBERTS, Candidate(DEAD)),
        (Algorithm.HIRSCHBERG_SINCLAIR, Reply(DEAD, Direction.CLOCKWISE, 0)),
    ],
)
def test_orphaned_token_of_a_dead_maximum_is_dropped(algorithm: Algorithm, orphan: Message) -> None:
    ring = RingWorld(1, shuffled_ring(1, 6), algorithm=algorithm)
    ring.world.run(timedelta(milliseconds=1))
    ring.world.tell(ring.uids[1], Arrived(ring.uids[0], Carry(1, 1, 1, orphan)))
    ring.world.run(seconds(1))
    assert sum(member.counts.orphans for member in ring.living()) == 1
    assert sum(member.counts.carried for member in ring.living()) == len(ring.uids)
    assert ring.until_agreed().leader == max(ring.uids)


@EVERY
@pytest.mark.parametrize("seed", range(4))
def test_woken_old_leader_steps_down_and_its_token_is_old(algorithm: Algorithm, seed: int) -> None:
    ring = RingWorld(seed, shuffled_ring(seed, 7), algorithm=algorithm)
    ring.begin()
    first = ring.until_agreed()
    ring.world.pause(first.leader)
    second = ring.until_agreed()
    old = ring.member(first.leader)
    assert old is not None
    assert old.is_leader, "it does not know yet: that is what the token is for"
    assert ring.held is not None
    assert (ring.held.token or 0) > (first.token or 0)
    ring.world.resume(first.leader)
    assert ring.world.run(seconds(60), until=lambda: not old.is_leader)
    assert ring.until_agreed().epoch >= second.epoch


@pytest.mark.parametrize("seed", range(6))
def test_divided_ring_never_has_two_leaders_in_the_store(seed: int) -> None:
    ring = RingWorld(seed, shuffled_ring(seed, 8))
    ring.begin()
    ring.until_agreed()
    halves = ring.uids[:4], ring.uids[4:]
    ring.world.network.partition(*halves)
    ring.world.run(seconds(20))
    assert ring.world.network.counts["cut"]
    assert len(ring.granted) > 1, "the half that lost the leader elected another"
    ring.world.network.heal()
    ring.until_agreed()


def test_divided_ring_without_a_store_has_two_leaders_until_it_heals() -> None:
    """Why a decision without a token is called advisory."""
    ring = RingWorld(1, shuffled_ring(1, 8), with_store=False)
    ring.begin()
    assert ring.until_agreed().is_advisory
    ring.world.network.partition(ring.uids[:4], ring.uids[4:])
    ring.world.run(seconds(20))
    assert sum(member.is_leader for member in ring.living()) == 2
    ring.world.network.heal()
    ring.until_agreed()
    assert sum(member.is_leader for member in ring.living()) == 1


@EVERY
@pytest.mark.parametrize("seed", range(6))
def test_ring_recovers_from_anything(algorithm: Algorithm, seed: int) -> None:
    """Crashes, restarts, stalls and cuts at random, over a rough network; then peace."""
    ring = RingWorld(seed, shuffled_ring(seed, 6), algorithm=algorithm, faults=ROUGH)
    rng, world = seeded_rng(f"trouble {seed}"), ring.world
    world.tracing = False
    ring.begin()
    for _ in range(25):
        uid = rng.choice(ring.uids)
        trouble = rng.choice([world.crash, world.restart, world.pause, world.resume])
        trouble(uid)
        if rng.random() < 0.3:
            half = rng.randrange(1, 5)
            world.network.partition(ring.uids[:half], ring.uids[half:])
        elif rng.random() < 0.5:
            world.network.heal()
        world.run(seconds(rng.uniform(0, 2)))
    world.network.heal()
    for uid in ring.uids:
        world.restart(uid)
        world.resume(uid)
    ring.begin()
    ring.until_agreed()
    assert world.crashes
    assert ring.granted


def test_same_seed_gives_the_same_run() -> None:
    def story(seed: int) -> list[Decision]:
        ring = RingWorld(seed, shuffled_ring(seed, 6), faults=ROUGH)
        ring.begin()
        ring.crash(ring.until_agreed().leader)
        ring.until_agreed()
        return ring.granted

    assert story(4) == story(4)


def test_stranger_and_old_epoch_are_not_listened_to() -> None:
    ring = RingWorld(2, shuffled_ring(2, 4))
    ring.begin()
    decision = ring.until_agreed()
    member = ring.living()[0]
    stranger = Carry(9, 1, 1, Announcement(Uid(99)), Decision(9, Uid(99), 99))
    ring.world.tell(member.uid, Arrived(Uid(99), stranger))
    assert (member.epoch, member.counts.strangers) == (1, 1)
    old = Carry(0, 2, 1, Announcement(Uid(1)), Decision(0, Uid(1), 1))
    ring.world.tell(member.uid, Arrived(ring.uids[1], old))
    assert member.decision == decision
