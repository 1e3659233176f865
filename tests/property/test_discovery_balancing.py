"""Balancing against plain twins: exact shares of zones, even subsets, weights within bounds."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import pairwise
from math import sqrt

from hypothesis import given
from hypothesis import strategies as st

from moreton.kernel.rng import seeded_rng
from moreton.kernel.time import Instant
from moreton.registry import Instance, InstanceId
from moreton.registry.discovery.core.balancing import Balancer, Balancing
from moreton.registry.discovery.core.members import Member, Outcome
from moreton.registry.discovery.core.subsets import subset_of
from moreton.registry.discovery.core.zones import zone_shares

NOW = Instant(0)
ZONES = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 100), min_size=1)


@given(callers=ZONES, capacity=ZONES)
def test_every_zone_gets_what_its_capacity_is_of_the_whole(
    callers: dict[str, int], capacity: dict[str, int]
) -> None:
    made = sum(callers.values())
    got: Counter[str] = Counter()
    for zone, requests in callers.items():
        shares = zone_shares(zone, callers, capacity)
        assert abs(sum(shares.values()) - 1) < 1e-9
        for target, share in shares.items():
            got[target] += requests * share  # type: ignore[assignment]  # parts of requests
    for zone, part in capacity.items():
        assert abs(got[zone] / made - part / sum(capacity.values())) < 1e-9
    assert set(got) <= set(capacity)


@given(callers=ZONES, capacity=ZONES)
def test_as_many_requests_as_possible_stay_in_their_zone(
    callers: dict[str, int], capacity: dict[str, int]
) -> None:
    for zone, requests in callers.items():
        here = Fraction(requests, sum(callers.values()))
        room = Fraction(capacity.get(zone, 0), sum(capacity.values()))
        stays = zone_shares(zone, callers, capacity).get(zone, 0.0)
        assert abs(stays - min(Fraction(1), room / here)) < 1e-9


@given(capacity=ZONES, own=st.sampled_from("abcdefg"))
def test_zones_of_unknown_callers_are_taken_to_be_alike(capacity: dict[str, int], own: str) -> None:
    twin = dict.fromkeys({*capacity, own}, 1.0)
    assert zone_shares(own, {}, capacity) == zone_shares(own, twin, capacity)


WEIGHTS = st.dictionaries(
    st.text("abcdefghij", min_size=1, max_size=6), st.integers(1, 10), min_size=1, max_size=40
)


@given(WEIGHTS, st.integers(1, 12), st.text(max_size=5))
def test_subset_changes_by_one_at_most_when_one_goes(
    weights: dict[str, int], size: int, key: str
) -> None:
    names = {name: float(weight) for name, weight in weights.items()}
    whole = subset_of(names, key, size)
    assert len(whole) == len(set(whole)) == min(size, len(names))
    for gone in names:
        left = subset_of({name: w for name, w in names.items() if name != gone}, key, size)
        # The rest stays, in its order; one may move up.
        assert [name for name in whole if name != gone] == left[: len(whole) - (gone in whole)]


def test_subsets_of_many_clients_are_even() -> None:
    clients, size, names = 2000, 10, {f"i{n}": 1.0 for n in range(100)}
    got = Counter(name for n in range(clients) for name in subset_of(names, f"client-{n}", size))
    mean = clients * size / len(names)
    # Each client takes a name with the chance 1/10, by itself: a binomial distribution.
    spread = sqrt(mean * (1 - size / len(names)))
    assert all(abs(got[name] - mean) < 5 * spread for name in names)


def test_subsets_follow_weights() -> None:
    names = {f"i{n}": 1.0 + 3.0 * (n % 2) for n in range(50)}
    got = Counter(subset_of(names, f"client-{n}", 1)[0] for n in range(5000))
    heavy = sum(got[name] for name, weight in names.items() if weight > 1)
    assert abs(heavy / 5000 - 4 / 5) < 5 * sqrt(0.8 * 0.2 / 5000)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=12), st.integers(0, 2**32))
def test_idle_instances_get_requests_by_weight(weights: list[int], seed: int) -> None:
    rounds = 2000
    balancer = Balancer(Balancing(), seeded_rng(seed), key="me")
    balancer.update(instances(weights), NOW)
    got: Counter[str] = Counter()
    for _ in range(rounds):
        member = balancer.choose(NOW)
        assert member is not None
        got[member.instance.id] += 1
        balancer.ended(member, Outcome.ANSWERED, NOW)
    for number, weight in enumerate(weights):
        part = weight / sum(weights)
        assert abs(got[f"i{number:02}"] - rounds * part) <= 6 * sqrt(rounds * part) + 6


@given(st.lists(st.integers(1, 5), min_size=2, max_size=10), st.integers(0, 2**32))
def test_two_choices_keep_requests_under_way_closer_than_one(weights: list[int], seed: int) -> None:
    """Against a twin that draws one by weight: the worst load over the mean is never much above."""
    rounds = 60 * sum(weights)
    balancer = Balancer(Balancing(), seeded_rng(seed), key="me")
    balancer.update(instances(weights), NOW)
    held: Counter[str] = Counter()
    for _ in range(rounds):
        member = balancer.choose(NOW)
        assert member is not None
        held[member.instance.id] += 1
    loads = [held[f"i{number:02}"] / weight for number, weight in enumerate(weights)]
    # With one choice the spread is some sqrt(60), and grows with time; with two it does not.
    assert max(loads) - min(loads) <= 16
    assert all(first <= second for first, second in pairwise(sorted(loads)))


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("choose"), st.integers(0, 5)),
        st.tuples(st.just("end"), st.sampled_from(list(Outcome))),
        st.tuples(st.just("update"), st.sets(st.integers(0, 5))),
        st.tuples(st.just("wait"), st.integers(0, 4000)),
    ),
    max_size=60,
)


@given(ACTIONS, st.sampled_from(["", "z0", "z1", "z9"]), st.sampled_from([None, 1, 3]))
def test_balancer_always_has_an_answer_and_counts_right(
    actions: list[tuple[str, object]], zone: str, subset: int | None
) -> None:
    """Whatever happens in whatever order: a plain twin knows how many requests are under way."""
    now = NOW
    balancer = Balancer(Balancing(zone=zone, subset=subset), seeded_rng(3), key="me")
    present: set[int] = set()
    under_way: list[Member] = []
    for kind, value in actions:
        if kind == "update" and isinstance(value, set):
            present = value
            gone = [each for each in under_way if int(each.instance.id[1:]) not in present]
            balancer.update([numbered(number) for number in sorted(present)], now)
            for each in gone:
                balancer.ended(each, Outcome.ABANDONED, now)
            under_way = [each for each in under_way if each not in gone]
        elif kind == "choose":
            member = balancer.choose(now, {InstanceId(f"i{value}")})
            assert (member is None) == (not present)
            if member is not None:
                assert int(member.instance.id[1:]) in present
                under_way.append(member)
        elif kind == "end" and under_way and isinstance(value, Outcome):
            balancer.ended(under_way.pop(), value, now)
        elif kind == "wait" and isinstance(value, int):
            now = Instant(now.nanos + value * 1_000_000)
    assert balancer.statistics(now).outstanding == len(under_way)


def numbered(number: int) -> Instance:
    return Instance(
        InstanceId(f"i{number}"), "orders", "10.0.0.1", 8000 + number, zone=f"z{number % 3}"
    )


def instances(weights: list[int]) -> list[Instance]:
    return [
        Instance(InstanceId(f"i{number:02}"), "orders", "10.0.0.1", 8000 + number, weight=weight)
        for number, weight in enumerate(weights)
    ]
