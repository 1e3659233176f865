"""The windows against dumb twins that keep everything; the budget's bound in every ten seconds."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from moreton.resilience.core.budget import Budget
from moreton.resilience.core.windows import CountWindow, TimeWindow

# Failed, or slow, or neither.
OUTCOMES = st.sampled_from([(False, False), (True, False), (False, True)])
# Steps of an eighth of a second, so that sums are exact and moments meet the edges of buckets.
GAPS = st.integers(0, 40).map(lambda eighths: eighths / 8)


class Call(NamedTuple):
    at: float
    failed: bool
    slow: bool


@given(st.integers(1, 30), st.lists(OUTCOMES, max_size=120))
def test_a_count_window_holds_exactly_the_last_calls(
    size: int, outcomes: list[tuple[bool, bool]]
) -> None:
    window = CountWindow(size)
    twin: deque[tuple[bool, bool]] = deque(maxlen=size)
    for failed, slow in outcomes:
        tell(window, 0.0, failed=failed, slow=slow)
        twin.append((failed, slow))
        assert window.counts(0.0) == (len(twin), sum(f for f, _ in twin), sum(s for _, s in twin))
    window.reset(0.0)
    assert window.counts(0.0) == (0, 0, 0)


@given(st.integers(1, 20))
@settings(max_examples=10)
def test_a_count_window_keeps_no_more_than_its_size(size: int) -> None:
    window = CountWindow(size)
    for number in range(200):
        tell(window, 0.0, failed=number % 2 == 0, slow=number % 2 == 1)
        window.counts(0.0)
    assert len(window._failed or []) <= size
    assert len(window._slow or []) <= size


def test_a_failure_is_noted_while_nobody_has_to_look_at_the_counts() -> None:
    window = CountWindow(10)
    assert not window.note_failure()
    window.failure(0.0)
    window.look_from(4)
    assert [window.note_failure() for _ in range(4)] == [True, True, False, False]
    assert window.counts(0.0) == (3, 3, 0)
    assert not TimeWindow(10.0, 10).note_failure()


def tell(window: CountWindow | TimeWindow, now: float, *, failed: bool, slow: bool) -> None:
    if failed:
        window.failure(now)
    elif slow:
        window.slow(now)
    else:
        window.success(now)


@given(
    st.sampled_from([(10.0, 10), (8.0, 4), (1.0, 2)]),
    st.floats(0, 1e6).map(lambda start: round(start * 8) / 8),
    st.lists(st.tuples(GAPS, OUTCOMES), max_size=80),
)
def test_a_time_window_counts_what_is_surely_inside_and_nothing_outside(
    shape: tuple[float, int], start: float, steps: list[tuple[float, tuple[bool, bool]]]
) -> None:
    seconds, buckets = shape
    window = TimeWindow(seconds, buckets)
    now = start
    calls: list[Call] = []
    for gap, (failed, slow) in steps:
        now += gap
        tell(window, now, failed=failed, slow=slow)
        calls.append(Call(now, failed, slow))
        check(window.counts(now), calls, now, (seconds * (1 - 1 / buckets), seconds))


def check(
    counts: tuple[int, int, int], calls: list[Call], now: float, ages: tuple[float, float]
) -> None:
    """Calls younger than the first age are in, those older than the second are not."""
    surely = [call for call in calls if now - call.at < ages[0]]
    perhaps = [call for call in calls if now - call.at <= ages[1]]
    for low, count, high in zip(totals(surely), counts, totals(perhaps), strict=True):
        assert low <= count <= high


def totals(calls: list[Call]) -> tuple[int, int, int]:
    return len(calls), sum(call.failed for call in calls), sum(call.slow for call in calls)


@given(GAPS, st.integers(1, 50))
def test_a_time_window_is_empty_once_its_time_has_passed(gap: float, calls: int) -> None:
    window = TimeWindow(10.0, 10)
    for _ in range(calls):
        window.failure(100.0)
        window.slow(100.0)
    assert window.counts(100.0) == (2 * calls, calls, calls)
    assert window.counts(110.0 + gap) == (0, 0, 0)


BUDGETS = st.tuples(st.floats(0.05, 1.0), st.floats(0.0, 5.0))
# Calls and retries that are wanted, at growing moments.
LOADS = st.lists(st.tuples(GAPS, st.integers(0, 30), st.integers(0, 30)), max_size=60)


def spend(
    budget: Budget, load: list[tuple[float, int, int]], *, since: float
) -> tuple[list[float], list[float]]:
    """When calls and retries were made, of those that *load* wants."""
    calls: list[float] = []
    retries: list[float] = []
    now = since
    for gap, wanted_calls, wanted_retries in load:
        now += gap
        for _ in range(wanted_calls):
            budget.deposit(now)
            calls.append(now)
        retries += [now] * sum(budget.withdraw(now) for _ in range(wanted_retries))
    return calls, retries


@given(BUDGETS, LOADS)
def test_retries_in_ten_seconds_stay_below_the_share_or_the_minimum(
    shape: tuple[float, float], load: list[tuple[float, int, int]]
) -> None:
    share, per_second = shape
    budget = Budget(share, per_second)
    calls, retries = spend(budget, load, since=1000.0)
    # What the budget sees is nine to ten seconds; a window of nine is surely all seen, and a call
    # that pays for a retry is at most ten seconds older than it.
    for end in retries:
        made = sum(end - 9 < at <= end for at in retries)
        paying = sum(end - 10 <= at <= end for at in calls)
        assert made <= max(10 * per_second, share * paying) + 1e-9


@given(LOADS)
def test_the_default_budget_adds_a_fifth_or_three_a_second_give_or_take_a_bucket(
    load: list[tuple[float, int, int]],
) -> None:
    budget = Budget(0.2, 3.0)
    calls, retries = spend(budget, load, since=0.0)
    for end in retries:
        window = [at for at in retries if end - 10 < at <= end]
        one_bucket = [at for at in window if at <= window[0] + 1]
        paying = sum(end - 11 <= at <= end for at in calls)
        assert len(window) - len(one_bucket) <= max(30, 0.2 * paying)


@given(st.integers(31, 500))
def test_a_quiet_destination_gets_exactly_its_minimum_at_once(wanted: int) -> None:
    budget = Budget(0.2, 3.0)
    assert sum(budget.withdraw(50.0) for _ in range(wanted)) == 30
    assert budget.statistics(50.0).refused_total == wanted - 30
    # A window later all of it is there again.
    assert sum(budget.withdraw(61.0) for _ in range(wanted)) == 30


@given(st.integers(150, 5000))
def test_a_busy_destination_gets_a_fifth_of_its_calls(calls: int) -> None:
    budget = Budget(0.2, 3.0)
    for _ in range(calls):
        budget.deposit(7.0)
    granted = sum(budget.withdraw(7.0) for _ in range(calls))
    assert granted == int(max(30, 0.2 * calls))
