"""One test for each claim about rings: Lynch, "Distributed Algorithms", chapters 3 and 15.1."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from moreton.election.ring.core import theory
from moreton.election.ring.core.algorithms import Algorithm
from moreton.election.ring.core.algorithms.hirschberg_sinclair import HirschbergSinclairNode
from moreton.election.ring.core.lap import Lap, elect
from moreton.election.ring.core.ring import Announcement, Candidate, Reply, Uid
from moreton.kernel.rng import seeded_rng

RINGS = (Algorithm.LCR, Algorithm.CHANG_ROBERTS, Algorithm.HIRSCHBERG_SINCLAIR)
ON_RINGS = pytest.mark.parametrize("algorithm", RINGS)
ON_ALL = pytest.mark.parametrize("algorithm", list(Algorithm))
SIZES = (1, 2, 3, 4, 7, 16, 33, 100)


def uids(numbers: Sequence[int]) -> list[Uid]:
    return [Uid(number) for number in numbers]


def shuffled(n: int, seed: int = 0) -> list[Uid]:
    ring = uids(range(1, n + 1))
    seeded_rng(f"{n} {seed}").shuffle(ring)
    return ring


@pytest.mark.slow
@ON_ALL
def test_exactly_one_node_is_the_leader_and_it_has_the_largest_uid(algorithm: Algorithm) -> None:
    """3.3, correctness of LCR; every order of up to six nodes, and larger ones."""
    orders = itertools.chain.from_iterable(itertools.permutations(range(n)) for n in range(1, 7))
    for ring in itertools.chain((uids(order) for order in orders), map(shuffled, SIZES)):
        outcome = elect(ring, algorithm)
        assert (outcome.leaders, outcome.leader) == (1, max(ring)), ring


@ON_ALL
@pytest.mark.parametrize("n", SIZES)
def test_everyone_learns_the_leader_and_halts(algorithm: Algorithm, n: int) -> None:
    """3.3, "halting and non-leader outputs": the report makes all others output non-leader."""
    lap = Lap(shuffled(n), algorithm)
    outcome = lap.run()
    assert outcome.agreed
    assert outcome.halted == n
    assert {node.leader for node in lap.nodes} == {Uid(n)}


@ON_ALL
def test_halted_node_says_nothing_more(algorithm: Algorithm) -> None:
    lap = Lap(shuffled(9), algorithm)
    lap.run()
    before = sum(lap.sent.values())
    assert not lap.step()
    assert sum(lap.sent.values()) == before


@pytest.mark.parametrize("n", SIZES)
def test_lcr_elects_in_n_rounds_and_halts_in_two_n(n: int) -> None:
    """3.3: n rounds until the leader is elected, 2n with the report."""
    outcome = elect(shuffled(n), Algorithm.LCR)
    assert (outcome.rounds_to_elect, outcome.rounds) == (n, 2 * n)


@pytest.mark.parametrize("n", SIZES)
def test_lcr_in_the_worst_order_sends_exactly_what_theory_says(n: int) -> None:
    """3.3: O(n**2), reached when the UIDs fall clockwise."""
    outcome = elect(uids(range(n, 0, -1)), Algorithm.LCR)
    assert outcome.messages == n * (n + 1) // 2 + n == theory.lcr_worst(n)
    assert outcome.announcements == n


@pytest.mark.parametrize("n", SIZES)
def test_lcr_in_the_best_order_sends_exactly_what_theory_says(n: int) -> None:
    assert elect(uids(range(n)), Algorithm.LCR).messages == 3 * n - 1 == theory.lcr_best(n)


@pytest.mark.parametrize("n", range(1, 8))
def test_lcr_over_all_orders_sends_n_times_h_n_plus_n_on_average(n: int) -> None:
    """Chang and Roberts 1979: the average is n*H_n; no order is outside best and worst."""
    rest = range(1, n)
    counts = [
        elect(uids([n, *order]), Algorithm.LCR).messages for order in itertools.permutations(rest)
    ]
    assert sum(counts) / len(counts) == pytest.approx(theory.lcr_average(n), abs=1e-9)
    assert theory.lcr_best(n) == min(counts)
    assert theory.lcr_worst(n) == max(counts)


@pytest.mark.slow
def test_lcr_on_random_rings_stays_within_two_percent_of_the_average() -> None:
    counts = [elect(shuffled(64, seed), Algorithm.LCR).messages for seed in range(400)]
    assert sum(counts) / len(counts) == pytest.approx(theory.lcr_average(64), rel=0.02)


@pytest.mark.parametrize("n", [2, 3, 7, 16, 33, 100])
def test_chang_roberts_with_one_initiator_stays_between_its_bounds(n: int) -> None:
    """Chang and Roberts 1979: 2n when the largest begins, 3n - 1 at most, and it is reached."""
    ring = shuffled(n)
    top = ring.index(max(ring))
    counts = {
        initiator: elect(ring, Algorithm.CHANG_ROBERTS, initiators=[initiator]).messages
        for initiator in range(n)
    }
    assert counts[top] == 2 * n == min(counts.values())
    assert max(counts.values()) == 3 * n - 1 == counts[(top + 1) % n]


@pytest.mark.slow
@pytest.mark.parametrize("n", SIZES)
def test_hirschberg_sinclair_stays_below_its_message_bound(n: int) -> None:
    """3.4: at most 8n(1 + ceil(log n)), and the announcement."""
    for ring in (*(shuffled(n, seed) for seed in range(10)), uids(range(n)), uids(range(n))[::-1]):
        outcome = elect(ring, Algorithm.HIRSCHBERG_SINCLAIR)
        assert outcome.messages <= theory.hirschberg_sinclair_bound(n)


@pytest.mark.parametrize("n", SIZES)
def test_hirschberg_sinclair_elects_within_linear_rounds(n: int) -> None:
    """3.4: at most 3n rounds for n a power of two, else 5n; phase 0 alone takes two rounds."""
    outcome = elect(shuffled(n), Algorithm.HIRSCHBERG_SINCLAIR)
    is_power = n & (n - 1) == 0
    assert outcome.rounds_to_elect <= (3 if is_power else 5) * n


@pytest.mark.parametrize("n", [16, 33, 100])
def test_hirschberg_sinclair_thins_out_its_candidates_phase_by_phase(n: int) -> None:
    """3.4, complexity analysis: at most n // (2**(k - 1) + 1) nodes begin phase k."""
    for seed in range(10):
        lap = Lap(shuffled(n, seed), Algorithm.HIRSCHBERG_SINCLAIR)
        lap.run()
        nodes = [node for node in lap.nodes if isinstance(node, HirschbergSinclairNode)]
        for phase in range(1, max(node.phase for node in nodes) + 1):
            begun = sum(node.phase >= phase for node in nodes)
            assert begun <= theory.hirschberg_sinclair_winners(n, phase - 1)


def test_hirschberg_sinclair_beats_lcr_where_lcr_is_at_its_worst() -> None:
    ring = uids(range(256, 0, -1))
    lcr = elect(ring, Algorithm.LCR).messages
    assert elect(ring, Algorithm.HIRSCHBERG_SINCLAIR).messages < lcr / 10


@pytest.mark.parametrize("n", SIZES)
def test_bully_costs_what_garcia_molina_says(n: int) -> None:
    ring = shuffled(n)
    ranked = sorted(range(n), key=lambda position: ring[position])
    least = elect(ring, Algorithm.BULLY, initiators=[ranked[-1]])
    most = elect(ring, Algorithm.BULLY, initiators=[ranked[0]])
    assert (least.messages, most.messages) == (theory.bully_best(n), theory.bully_worst(n))
    assert least.leader == most.leader == max(ring)


@ON_RINGS
def test_every_set_of_initiators_elects_the_same_leader(algorithm: Algorithm) -> None:
    """15.1: in the asynchronous ring any non-empty set of nodes may begin."""
    ring = uids([3, 6, 1, 5, 2, 4])
    for size in range(1, len(ring) + 1):
        for initiators in itertools.combinations(range(len(ring)), size):
            outcome = elect(ring, algorithm, initiators=initiators)
            assert (outcome.leader, outcome.leaders, outcome.agreed) == (Uid(6), 1, True)


@ON_RINGS
@pytest.mark.parametrize("seed", range(25))
def test_message_delay_makes_no_second_leader(algorithm: Algorithm, seed: int) -> None:
    """15.1.1, AsynchLCR: asynchronous channels of any speed, each keeping its order."""
    rng = seeded_rng(seed)
    ring = shuffled(1 + rng.randrange(20), seed)
    lap = Lap(ring, algorithm, rng=rng)
    while lap.step():
        assert lap.outcome().leaders <= 1
    outcome = lap.outcome()
    assert (outcome.leader, outcome.agreed, outcome.halted) == (max(ring), True, len(ring))


def test_lcr_costs_the_same_however_slow_its_channels_are() -> None:
    ring = shuffled(40)
    counts = {elect(ring, Algorithm.LCR, rng=seeded_rng(seed)).messages for seed in range(20)}
    assert counts == {elect(ring, Algorithm.LCR).messages}


def test_only_comparisons_of_uids_count() -> None:
    """3.6: comparison-based algorithms behave alike on order-equivalent rings."""
    for algorithm in Algorithm:
        small = elect(uids([2, 5, 1, 4, 3]), algorithm)
        large = elect([Uid(0, 7, name) for name in "beadc"], algorithm)
        assert small.messages == large.messages


def test_messages_are_counted_by_kind() -> None:
    lap = Lap(uids([4, 3, 2, 1]), Algorithm.LCR)
    lap.run()
    assert lap.sent == {Candidate: 10, Announcement: 4}
    assert Reply not in lap.sent
