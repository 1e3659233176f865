"""Each algorithm against a dumb twin that remembers everything; and what all of them promise."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.kernel.quantities import Rate
from moreton.ratelimit.core.bucket import TokenBucket
from moreton.ratelimit.core.calendar import CalendarWindow
from moreton.ratelimit.core.decision import decide
from moreton.ratelimit.core.gcra import Gcra, LeakyBucket
from moreton.ratelimit.core.limit import NEVER, Limit, fresh
from moreton.ratelimit.core.rings import Concurrency, SlidingLog
from moreton.ratelimit.core.windows import FixedWindow, SlidingCounter

START = 1_700_000_000_000_000_000
Event = tuple[int, int]  # when, cost
Twin = Callable[[list[Event], int, int], bool]  # what was admitted, now, cost


def micros(count: int, per: int) -> Rate:
    """*count* in *per* microseconds."""
    return Rate(count, timedelta(microseconds=per))


def gcra_twin(limit: Gcra) -> Twin:
    def admits(admitted: list[Event], now: int, cost: int) -> bool:
        level, since = Fraction(0), START
        for moment, one in admitted:
            level = max(Fraction(0), level - Fraction(moment - since, limit.interval)) + one
            since = moment
        level = max(Fraction(0), level - Fraction(now - since, limit.interval))
        return level + cost <= limit.quota

    return admits


def bucket_twin(limit: TokenBucket) -> Twin:
    def admits(admitted: list[Event], now: int, cost: int) -> bool:
        tokens, fill_at = limit.quota, 0
        for moment, one in [*admitted, (now, 0)]:
            while tokens < limit.quota and fill_at <= moment:
                tokens = min(limit.quota, tokens + limit.refill)
                fill_at += limit.every
            if tokens == limit.quota:
                fill_at = moment + limit.every
            tokens -= one
        return cost <= tokens

    return admits


def window_twin(limit: Limit) -> Twin:
    def admits(admitted: list[Event], now: int, cost: int) -> bool:
        window = now // limit.period_nanos
        used = sum(one for at, one in admitted if at // limit.period_nanos == window)
        return used + cost <= limit.quota

    return admits


def counter_twin(limit: SlidingCounter) -> Twin:
    period = limit.period_nanos

    def admits(admitted: list[Event], now: int, cost: int) -> bool:
        windows: list[list[int]] = []  # begin, count
        for moment, one in [*admitted, (now, 0)]:
            while windows and moment - windows[-1][0] >= period:
                follows = windows[-1][0] + period
                if moment - follows >= period:
                    windows.clear()
                else:
                    windows.append([follows, 0])
            if not windows:
                windows.append([moment, 0])
            windows[-1][1] += one
        before = windows[-2][1] if len(windows) > 1 else 0
        share = 1 - Fraction(now - windows[-1][0], period)
        return before * share + windows[-1][1] + cost <= limit.quota

    return admits


def log_twin(limit: SlidingLog) -> Twin:
    def admits(admitted: list[Event], now: int, cost: int) -> bool:
        used = sum(one for at, one in admitted if at > now - limit.period_nanos)
        return used + cost <= limit.quota

    return admits


def concurrency_twin(limit: Concurrency) -> Twin:
    def admits(admitted: list[Event], now: int, cost: int) -> bool:
        return sum(one for at, one in admitted if at + limit.hold > now) + cost <= limit.quota

    return admits


def with_twins(count: int, per: int, burst: int) -> list[tuple[Limit, Twin]]:
    gcra = Gcra(micros(count, per), burst)
    every = timedelta(microseconds=per)
    bucket = TokenBucket(burst, min(count, burst), every)
    fixed = FixedWindow(micros(count, per))
    counter = SlidingCounter(micros(count, per))
    log = SlidingLog(micros(count, per))
    work = Concurrency(count, hold=every)
    return [
        (gcra, gcra_twin(gcra)),
        (bucket, bucket_twin(bucket)),
        (fixed, window_twin(fixed)),
        (counter, counter_twin(counter)),
        (log, log_twin(log)),
        (work, concurrency_twin(work)),
    ]


PARAMETERS = st.tuples(st.integers(1, 7), st.integers(1, 50), st.integers(1, 9))
# Gaps in nanoseconds, some of them on the edges; and costs.
STEPS = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 20_000), st.sampled_from([0, 1000, 1001])), st.integers(1, 4)
    ),
    max_size=40,
)
KINDS = range(len(with_twins(1, 1, 1)))


@pytest.mark.parametrize(
    "kind", KINDS, ids=lambda kind: type(with_twins(1, 1, 1)[kind][0]).__name__
)
@given(PARAMETERS, STEPS)
def test_a_limit_admits_what_its_twin_admits(
    kind: int, parameters: tuple[int, int, int], steps: list[Event]
) -> None:
    limit, twin = with_twins(*parameters)[kind]
    cells, now = fresh(limit), START
    admitted: list[Event] = []
    for gap, cost in steps:
        now += gap
        wanted = twin(admitted, now, cost)
        assert decide([limit], [cells], [now], cost).allowed == wanted
        if wanted:
            admitted.append((now, cost))


@pytest.mark.parametrize(
    "kind", KINDS, ids=lambda kind: type(with_twins(1, 1, 1)[kind][0]).__name__
)
@given(PARAMETERS, STEPS)
def test_who_waits_as_told_is_let_in_and_who_comes_earlier_is_not(
    kind: int, parameters: tuple[int, int, int], steps: list[Event]
) -> None:
    limit, _ = with_twins(*parameters)[kind]
    cells, now = fresh(limit), START
    for gap, cost in steps:
        now += gap
        found = decide([limit], [cells], [now], cost)
        if found.allowed or found.retry_nanos == NEVER:
            assert found.allowed or cost > limit.quota
            continue
        wait = found.retry_nanos
        assert limit.wait(cells, now + wait, cost) == 0
        assert limit.wait(cells, now + wait - 1, cost) == 1
        full = limit.full_in(cells, now)
        assert limit.left(cells, now + full) == limit.quota
        assert limit.full_in(cells, now + full) == 0


@given(PARAMETERS, STEPS)
def test_no_window_holds_more_than_is_promised(
    parameters: tuple[int, int, int], steps: list[Event]
) -> None:
    for limit, _ in with_twins(*parameters):
        if limit.held:
            continue
        cells, now = fresh(limit), START
        admitted: list[Event] = []
        for gap, cost in steps:
            now += gap
            if decide([limit], [cells], [now], cost):
                admitted.append((now, cost))
        _check_windows(limit, admitted)


def _check_windows(limit: Limit, admitted: list[Event]) -> None:
    """In every closed window from one event to another no more than the bound of its length."""
    for first in range(len(admitted)):
        total = 0
        for moment, cost in admitted[first:]:
            total += cost
            length = moment - admitted[first][0]
            if isinstance(limit, Gcra):
                assert total <= limit.quota + Fraction(length, limit.interval)
            elif isinstance(limit, TokenBucket):
                fills = length // limit.every + 1
                assert total <= limit.quota + limit.refill * fills
            elif length < limit.period_nanos:
                twice = 1 if isinstance(limit, SlidingLog) else 2
                assert total <= twice * limit.quota


@given(PARAMETERS, STEPS)
def test_turns_that_were_taken_ahead_keep_the_rate(
    parameters: tuple[int, int, int], steps: list[Event]
) -> None:
    count, per, burst = parameters
    limits: Sequence[Limit] = (
        Gcra(micros(count, per), burst),
        LeakyBucket(micros(count, per), burst),
        TokenBucket(burst, min(count, burst), timedelta(microseconds=per)),
    )
    for limit in limits:
        cells, now = fresh(limit), START
        admitted: list[Event] = []
        for gap, cost in steps:
            now += gap
            found = decide([limit], [cells], [now], cost, patience=100_000)
            if found:
                admitted.append((now + found.delay_nanos, cost))
        assert admitted == sorted(admitted, key=lambda event: event[0])
        if not isinstance(limit, LeakyBucket):
            _check_windows(limit, admitted)
            continue
        for (moment, cost), (following, _) in itertools.pairwise(admitted):
            assert following - moment >= cost * limit.interval


@given(st.lists(PARAMETERS, min_size=1, max_size=4), STEPS)
def test_a_refusal_changes_nothing_and_an_admission_changes_all(
    parameters: list[tuple[int, int, int]], steps: list[Event]
) -> None:
    limits = [with_twins(*one)[n % len(KINDS)][0] for n, one in enumerate(parameters)]
    limits.append(CalendarWindow(20, "day", zone=UTC))
    states = [fresh(limit) for limit in limits]
    now = START
    for gap, cost in steps:
        now += gap
        before = [list(cells) for cells in states]
        left = [limit.left(cells, now) for limit, cells in zip(limits, states, strict=True)]
        found = decide(limits, states, [now] * len(limits), cost)
        assert found.allowed == all(cost <= one for one in left)
        if found:
            assert [one.left for one in found.standings] == [one - cost for one in left]
        else:
            assert [list(cells) for cells in states] == before
            assert found.refused_by in {one.name for one in limits}


@given(PARAMETERS, STEPS, st.integers(1, 9))
def test_what_is_given_back_at_once_was_never_taken(
    parameters: tuple[int, int, int], steps: list[Event], cost: int
) -> None:
    for limit, _ in with_twins(*parameters):
        cells, now = fresh(limit), START
        for gap, one in steps:
            now += gap
            decide([limit], [cells], [now], one)
        left = limit.left(cells, now)
        found = decide([limit], [cells], [now], cost)
        if found:
            limit.give(cells, now, cost, found.taken[0])
        assert limit.left(cells, now) == left


@given(PARAMETERS, st.integers(1, 10**6))
def test_a_cost_charged_after_the_fact_is_owed(parameters: tuple[int, int, int], cost: int) -> None:
    for limit, _ in with_twins(*parameters):
        cells = fresh(limit)
        limit.take(cells, START, cost)
        assert limit.left(cells, START) == max(0, limit.quota - cost)
        full = limit.full_in(cells, START)
        assert limit.left(cells, START + full) == limit.quota
        assert all(-(2**63) <= cell < 2**63 for cell in cells)
