"""Every wait stays within its formula, whatever the numbers; what a server asks for is a floor."""

from __future__ import annotations

import math
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moreton.kernel.rng import seeded_rng
from moreton.resilience.core.backoff import CAP_MAX, Backoff, Jitter
from moreton.resilience.core.budget import Budget
from moreton.resilience.core.retrying import Series, SeriesPolicy, Stop, schedule

RETRIES = st.integers(1, 5000)
SEEDS = st.integers(0, 2**32)
LENGTHS = st.timedeltas(timedelta(milliseconds=1), timedelta(hours=1))
SPREADS = st.sampled_from([Jitter.NONE, Jitter.FULL, Jitter.EQUAL])
RELATIVE = 1e-9  # floats


@st.composite
def exponentials(draw: st.DrawFn, jitters: st.SearchStrategy[Jitter] = SPREADS) -> Backoff:
    initial = draw(LENGTHS)
    cap = draw(st.timedeltas(initial + timedelta(microseconds=1), CAP_MAX))
    multiplier = draw(st.floats(1.001, 100))
    return Backoff.exponential(initial, multiplier=multiplier, cap=cap, jitter=draw(jitters))


@st.composite
def linears(draw: st.DrawFn) -> Backoff:
    initial = draw(LENGTHS)
    cap = draw(st.timedeltas(initial, CAP_MAX))
    return Backoff.linear(initial, draw(LENGTHS), cap=cap, jitter=draw(SPREADS))


@st.composite
def constants(draw: st.DrawFn) -> Backoff:
    return Backoff.constant(draw(LENGTHS), jitter=draw(SPREADS))


DECORRELATED = exponentials(st.just(Jitter.DECORRELATED))
ANY = st.one_of(exponentials(), linears(), constants(), DECORRELATED)


def ceiling(backoff: Backoff, retry: int) -> float:
    """The formulas of the documentation, in logarithms where a power would overflow."""
    initial, cap = backoff.initial.total_seconds(), backoff.cap.total_seconds()
    if backoff.growth.value == "constant":
        return initial
    if backoff.growth.value == "linear":
        return min(cap, initial + backoff.step.total_seconds() * (retry - 1))
    log = math.log(initial) + (retry - 1) * math.log(backoff.multiplier)
    return cap if log > math.log(cap) else min(cap, initial * backoff.multiplier ** (retry - 1))


@given(st.one_of(exponentials(), linears(), constants()), RETRIES, SEEDS)
def test_a_wait_lies_within_the_bounds_of_its_jitter(
    backoff: Backoff, retry: int, seed: int
) -> None:
    latest = ceiling(backoff, retry)
    earliest = {Jitter.NONE: latest, Jitter.EQUAL: latest / 2, Jitter.FULL: 0.0}[backoff.jitter]
    wait = backoff.seconds(retry, seeded_rng(seed))
    assert earliest * (1 - RELATIVE) <= wait <= latest * (1 + RELATIVE)


@given(ANY, RETRIES, SEEDS, st.floats(0, 1e6))
def test_no_wait_is_ever_above_the_cap_or_below_zero(
    backoff: Backoff, retry: int, seed: int, previous: float
) -> None:
    assert 0 <= backoff.seconds(retry, seeded_rng(seed), previous) <= backoff.cap.total_seconds()


@given(ANY, SEEDS)
def test_attempt_5000_does_not_overflow(backoff: Backoff, seed: int) -> None:
    cap = backoff.cap.total_seconds()
    assert 0 <= backoff.seconds(5000, seeded_rng(seed), cap) <= cap
    earliest, mean, latest = backoff.bounds(5000)
    assert 0 <= earliest <= mean <= latest <= cap


@given(DECORRELATED, SEEDS, st.integers(1, 30))
def test_decorrelated_waits_lie_between_the_initial_and_three_times_the_one_before(
    backoff: Backoff, seed: int, retries: int
) -> None:
    rng = seeded_rng(seed)
    initial, cap = backoff.initial.total_seconds(), backoff.cap.total_seconds()
    before = 0.0
    for retry in range(1, retries + 1):
        wait = backoff.seconds(retry, rng, before)
        assert initial <= wait <= min(cap, 3 * max(before, initial)) * (1 + RELATIVE)
        assert wait <= backoff.bounds(retry)[2] * (1 + RELATIVE)
        before = wait


@given(st.one_of(exponentials(), linears(), constants()), RETRIES)
def test_ceilings_never_shrink_from_one_retry_to_the_next(backoff: Backoff, retry: int) -> None:
    assert backoff.bounds(retry)[2] <= backoff.bounds(retry + 1)[2]
    assert backoff.bounds(retry)[2] == pytest.approx(ceiling(backoff, retry))


@given(st.one_of(exponentials(), linears(), constants()), st.integers(1, 40))
@settings(max_examples=25)
def test_the_mean_of_many_waits_is_the_mean_that_bounds_tells(backoff: Backoff, retry: int) -> None:
    earliest, mean, latest = backoff.bounds(retry)
    rng = seeded_rng(retry)
    waits = [backoff.seconds(retry, rng) for _ in range(400)]
    # Of 400 uniform draws the mean is off by more than a tenth of their range once in 10**11.
    assert sum(waits) / 400 == pytest.approx(mean, abs=(latest - earliest) / 10 + 1e-9 * latest)


@given(exponentials(), st.integers(2, 40))
def test_the_schedule_adds_up_the_bounds(backoff: Backoff, attempts: int) -> None:
    rows = schedule(backoff, attempts)
    assert len(rows) == attempts
    assert rows[0] == (0.0, 0.0, 0.0)
    for retry, (before, after) in enumerate(pairwise(rows), 1):
        assert tuple(a - b for a, b in zip(after, before, strict=True)) == pytest.approx(
            backoff.bounds(retry)
        )


@given(ANY, SEEDS, st.floats(0, 1e6), st.floats(0, 600), st.integers(2, 20))
def test_what_a_server_asks_for_is_never_shortened_but_capped(
    backoff: Backoff, seed: int, floor: float, floor_max: float, attempts: int
) -> None:
    series = Series(SeriesPolicy(attempts, backoff, floor_max))
    asked = min(floor, floor_max)
    for _ in range(attempts - 1):
        wait = series.next(floor, 0.0, math.inf, None, seeded_rng(seed))
        assert not isinstance(wait, Stop)
        assert asked <= wait <= asked + backoff.cap.total_seconds()
        if backoff.jitter is Jitter.NONE:
            assert wait == max(asked, backoff.seconds(series.attempt - 1, seeded_rng(seed)))


@given(ANY, SEEDS, st.floats(0, 1e4), st.floats(0, 1e4), st.floats(0, 100))
def test_no_wait_reaches_the_deadline_and_none_given_up_for_it_costs_budget(
    backoff: Backoff, seed: int, now: float, left: float, floor: float
) -> None:
    series = Series(SeriesPolicy(1000, backoff, 60.0))
    budget = Budget(0.2, 3.0) if seed % 2 else None
    deadline = now + left
    for _ in range(40):
        wait = series.next(floor, now, deadline, budget, seeded_rng(seed))
        if isinstance(wait, Stop):
            assert wait in {Stop.DEADLINE, Stop.BUDGET}
            break
        now += wait
        assert now < deadline
    if budget is not None:
        # Nothing has left the window of a budget that was never asked ten seconds ago.
        made = series.attempt - 1
        assert budget.statistics(now).retries <= made
        assert made or budget.statistics(now).retries == 0


@given(st.integers(2, 50), SEEDS)
def test_a_series_has_exactly_as_many_attempts_as_its_policy(attempts: int, seed: int) -> None:
    series = Series(SeriesPolicy(attempts, Backoff(), 60.0))
    waits = [series.next(0.0, 0.0, math.inf, None, seeded_rng(seed)) for _ in range(attempts + 3)]
    assert [isinstance(wait, Stop) for wait in waits] == [False] * (attempts - 1) + [True] * 4
    assert set(waits[attempts - 1 :]) == {Stop.ATTEMPTS}
