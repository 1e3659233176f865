"""Throttling follows the book's formula; adaptive limits stay in bounds and find a queue's size."""

from __future__ import annotations

import heapq
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moreton.kernel.rng import seeded_rng
from moreton.resilience.core.limits import ConcurrencyLimit, Gradient2, Vegas
from moreton.resilience.core.throttle import Throttle

KINDS = st.sampled_from([Gradient2, Vegas])
SAMPLES = st.tuples(st.floats(0, 1e4), st.integers(1, 2000), st.booleans())


@given(st.floats(1, 5), st.lists(st.booleans(), max_size=150), st.integers(0, 99))
def test_the_share_held_back_is_that_of_the_book(k: float, refused: list[bool], seed: int) -> None:
    throttle = Throttle(k, 120.0)
    rng = seeded_rng(seed)
    accepts = 0
    for requests, no in enumerate(refused):
        share = max(0.0, (requests - k * accepts) / (requests + 1))
        assert throttle.statistics(5.0).held_back == pytest.approx(share)
        draw = seeded_rng(seed)
        draw.setstate(rng.getstate())
        admitted = throttle.admit(5.0, rng)
        assert admitted == (share == 0 or draw.random() >= share)
        if admitted and not no:
            accepts += 1
        elif admitted:
            throttle.overloaded(5.0)


@given(
    st.lists(st.tuples(st.floats(0, 200), st.integers(0, 5), st.integers(0, 5)), max_size=60),
    st.integers(0, 99),
)
def test_a_throttle_never_holds_back_everything_for_good(
    steps: list[tuple[float, int, int]], seed: int
) -> None:
    throttle = Throttle(2.0, 120.0)
    rng = seeded_rng(seed)
    now = 0.0
    under_way = 0
    for gap, wanted, late in steps:
        now += gap
        under_way += sum(throttle.admit(now, rng) for _ in range(wanted))
        for _ in range(min(late, under_way)):
            under_way -= 1
            throttle.overloaded(now)  # perhaps long after its call was counted
        told = throttle.statistics(now)
        assert 0 <= told.held_back < 1
        assert 0 <= told.accepts <= told.requests or told.requests == 0


def test_a_destination_that_refuses_all_gets_few_calls_and_all_once_it_accepts() -> None:
    throttle = Throttle(2.0, 10.0)
    rng = seeded_rng(1)
    made = 0
    now = 0.0
    for _ in range(1000):
        now += 0.1
        if throttle.admit(now, rng):
            made += 1
            throttle.overloaded(now)
    assert 5 <= made < 50  # of a thousand: about one in the requests of a window, 100
    # What is accepted doubles in every window of time, so some of them have to pass.
    for _ in range(1000):
        now += 0.1
        throttle.admit(now, rng)
    assert not throttle.statistics(now).held_back


@given(KINDS, st.integers(1, 20), st.integers(0, 100), st.lists(SAMPLES, max_size=100))
def test_a_limit_stays_within_its_bounds(
    kind: type[Gradient2 | Vegas], lowest: int, more: int, samples: list[tuple[float, int, bool]]
) -> None:
    highest = lowest + more
    limit: ConcurrencyLimit = kind(lowest, lowest, highest)
    for seconds, under_way, dropped in samples:
        limit.sample(seconds, under_way, dropped=dropped)
        assert lowest <= limit.limit <= highest


@given(KINDS, st.floats(0.001, 10))
@settings(max_examples=10)
def test_a_limit_grows_while_calls_stay_fast_and_falls_when_they_are_dropped(
    kind: type[Gradient2 | Vegas], seconds: float
) -> None:
    limit: ConcurrencyLimit = kind(20, 4, 200)
    # A little noise: Vegas learns nothing from a time that is the shortest it has seen.
    for number in range(30_000):
        limit.sample(seconds * (1 + number % 2 / 1000), limit.limit, dropped=False)
    grown = limit.limit
    assert grown > 100
    for _ in range(2000):
        limit.sample(seconds, limit.limit, dropped=True)
    assert limit.limit == 4


@given(KINDS, st.floats(0.001, 10))
@settings(max_examples=10)
def test_a_limit_that_is_hardly_used_does_not_grow(
    kind: type[Gradient2 | Vegas], seconds: float
) -> None:
    limit: ConcurrencyLimit = kind(20, 4, 200)
    for number in range(300):
        limit.sample(seconds * (1 + number % 2 / 1000), 3, dropped=False)
    assert limit.limit <= 20


def serve(
    limit: ConcurrencyLimit, servers: int, *, calls: int, seed: int, slower_after: int = 10**9
) -> list[int]:
    """Clients that always have a call to make, *servers* of 10 ms; the limit after each call.

    After *slower_after* calls each takes three times as long.
    """
    rng = seeded_rng(seed)
    now = 0.0
    waiting: deque[tuple[float, int]] = deque()  # begun at, calls under way then
    busy: list[tuple[float, float, int]] = []  # ends at, begun at, calls under way then
    limits: list[int] = []
    while len(limits) < calls:
        while len(waiting) + len(busy) < limit.limit:
            waiting.append((now, len(waiting) + len(busy) + 1))
        while waiting and len(busy) < servers:
            begun, under_way = waiting.popleft()
            seconds = rng.uniform(0.009, 0.011) * (3 if len(limits) > slower_after else 1)
            heapq.heappush(busy, (now + seconds, begun, under_way))
        now, begun, under_way = heapq.heappop(busy)
        limit.sample(now - begun, under_way, dropped=False)
        limits.append(limit.limit)
    return limits


@pytest.mark.parametrize("kind", [Gradient2, Vegas])
@pytest.mark.parametrize("servers", [10, 30, 100])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_limit_finds_what_a_queue_can_take(
    kind: type[Gradient2 | Vegas], servers: int, seed: int
) -> None:
    limits = serve(kind(20, 1, 1000), servers, calls=40_000, seed=seed)
    late = sorted(limits[-20_000:])
    # All servers busy, and a queue that is about as long as they are many.
    assert servers * 0.8 <= late[len(late) // 2] <= servers * 2.5
    assert late[-1] <= servers * 6


@pytest.mark.parametrize("kind", [Gradient2, Vegas])
def test_a_limit_keeps_servers_busy_that_became_slower_for_good(
    kind: type[Gradient2 | Vegas],
) -> None:
    limits = serve(kind(20, 1, 1000), 30, calls=80_000, seed=1, slower_after=20_000)
    late = sorted(limits[-20_000:])
    assert 30 * 0.8 <= late[len(late) // 2] <= 30 * 2.5
