"""Limits decide as their sources say, to the nanosecond."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from moreton.ratelimit.core.bucket import TokenBucket
from moreton.ratelimit.core.calendar import CalendarWindow, Span
from moreton.ratelimit.core.decision import Decision, decide
from moreton.ratelimit.core.gcra import Gcra, LeakyBucket
from moreton.ratelimit.core.limit import NEVER, Cells, Limit, fresh
from moreton.ratelimit.core.rings import Concurrency, SlidingLog
from moreton.ratelimit.core.windows import FixedWindow, SlidingCounter

SECOND = 1_000_000_000
START = 1_000 * SECOND
# Time and volume; limited, remaining, reset, retry. Source: redis-cell, it_rate_limits.
REDIS_CELL = [
    (0.0, 6, True, 5, 0.0, -1),
    (0.0, 1, False, 4, 1.0, 0),
    (0.0, 1, False, 3, 2.0, 0),
    (0.0, 1, False, 2, 3.0, 0),
    (0.0, 1, False, 1, 4.0, 0),
    (0.0, 1, False, 0, 5.0, 0),
    (0.0, 1, True, 0, 5.0, 1.0),
    (3.0, 1, False, 2, 3.0, 0),
    (3.1, 1, False, 1, 3.9, 0),
    (4.0, 1, False, 1, 4.0, 0),
    (8.0, 1, False, 4, 1.0, 0),
    (9.5, 1, False, 4, 1.0, 0),
    (9.5, 0, False, 4, 1.0, 0),
    (9.5, 2, False, 2, 3.0, 0),
    (9.5, 5, True, 2, 3.0, 3.0),
]


def ask(limit: Limit, cells: Cells, seconds: float, cost: int = 1, patience: int = 0) -> Decision:
    now = START + round(seconds * SECOND)
    return decide([limit], [cells], [now], cost, patience=patience)


def test_gcra_decides_as_redis_cell_does() -> None:
    limit = Gcra("1/s", burst=5)
    cells = fresh(limit)
    for seconds, volume, limited, remaining, reset, retry in REDIS_CELL:
        found = ask(limit, cells, seconds, volume)
        standing = found.standings[0]
        wait = found.retry_nanos if found.retry_nanos == NEVER else found.retry_nanos / SECOND
        assert (found.allowed, standing.left) == (not limited, remaining)
        assert standing.full_in_nanos == round(reset * SECOND)
        assert wait == retry


def test_a_fixed_window_begins_with_the_minute_and_lets_twice_the_count_pass_at_its_edge() -> None:
    limit = FixedWindow("3/min")
    cells = fresh(limit)
    minute = 960 - 1000  # START is 1000 s; the minute began at 960 s
    assert [ask(limit, cells, minute + 59.9).allowed for _ in range(4)] == [True] * 3 + [False]
    assert ask(limit, cells, minute + 59.9).retry_nanos == SECOND // 10
    assert [ask(limit, cells, minute + 60).allowed for _ in range(4)] == [True] * 3 + [False]


def test_a_sliding_counter_weighs_the_window_before() -> None:
    limit = SlidingCounter("10/min")
    cells = fresh(limit)
    assert ask(limit, cells, 0, 10).allowed
    # A quarter into the next window 7.5 of the 10 still count.
    assert ask(limit, cells, 75, 3).retry_nanos == 3 * SECOND
    assert ask(limit, cells, 75, 2).allowed
    assert ask(limit, cells, 75).retry_nanos == 3 * SECOND
    assert ask(limit, cells, 78).allowed
    assert ask(limit, cells, 300).standings[0].left == 9


def test_a_sliding_log_is_exact() -> None:
    limit = SlidingLog("3/min")
    cells = fresh(limit)
    assert [ask(limit, cells, at).allowed for at in (0, 20, 40, 59)] == [True, True, True, False]
    assert ask(limit, cells, 59).retry_nanos == SECOND
    assert ask(limit, cells, 59, 2).retry_nanos == 21 * SECOND
    assert ask(limit, cells, 60).allowed
    assert not ask(limit, cells, 60).allowed


def test_a_token_bucket_is_filled_in_steps() -> None:
    limit = TokenBucket(10, 4, timedelta(seconds=2))
    cells = fresh(limit)
    assert ask(limit, cells, 0, 10).allowed
    assert ask(limit, cells, 1.9).retry_nanos == SECOND // 10
    assert ask(limit, cells, 1.9, 5).retry_nanos == SECOND * 21 // 10
    assert ask(limit, cells, 2, 4).allowed
    assert ask(limit, cells, 3).standings[0].full_in_nanos == 5 * SECOND


def test_a_leaky_bucket_gives_each_its_turn_until_its_queue_is_full() -> None:
    limit = LeakyBucket("2/s", queue=3)
    cells = fresh(limit)
    found = [ask(limit, cells, 0) for _ in range(5)]
    assert [one.delay_nanos / SECOND for one in found[:4]] == [0, 0.5, 1, 1.5]
    assert not found[4].allowed
    assert found[4].retry_nanos == SECOND // 2
    assert ask(limit, cells, 0.5).delay == timedelta(seconds=1.5)


def test_who_is_patient_is_told_when_its_turn_comes() -> None:
    limit = Gcra("2/s", burst=1)
    cells = fresh(limit)
    found = [ask(limit, cells, 0, patience=SECOND) for _ in range(4)]
    assert [one.delay_nanos / SECOND for one in found[:3]] == [0, 0.5, 1]
    assert not found[3].allowed
    assert found[3].retry_nanos == SECOND // 2


def test_work_that_never_ends_is_given_up() -> None:
    limit = Concurrency(2, hold=timedelta(seconds=10))
    cells = fresh(limit)
    first = ask(limit, cells, 0)
    assert ask(limit, cells, 1).allowed
    assert ask(limit, cells, 2).retry_nanos == 8 * SECOND
    limit.give(cells, START + 3 * SECOND, 1, first.taken[0])
    assert ask(limit, cells, 3).allowed
    assert not ask(limit, cells, 3).allowed
    assert ask(limit, cells, 11).allowed


def test_a_refusal_charges_no_other_limit_and_names_the_one_that_is_free_last() -> None:
    limits = [Gcra("100/s", name="burst"), FixedWindow("2/min", name="minute"), Gcra("5/s")]
    states = [fresh(limit) for limit in limits]
    nows = [START] * 3
    assert decide(limits, states, nows, 2)
    before = [list(cells) for cells in states]
    refused = decide(limits, states, nows, 2)
    assert (refused.refused_by, refused.retry_in) == ("minute", timedelta(seconds=20))
    assert refused.explain() == "refused by minute: free in 20 s"
    assert [list(cells) for cells in states] == before
    never = decide(limits, states, nows, 3)
    assert (never.refused_by, never.retry_in) == ("minute", None)
    assert never.explain() == "refused by minute: a cost of 3 is above it, at any time"


def test_less_critical_work_leaves_a_share_of_the_quota() -> None:
    limit = Gcra("10/s")
    cells = fresh(limit)
    sheddable = [decide([limit], [cells], [START], share=0.6).allowed for _ in range(8)]
    assert sheddable == [True] * 6 + [False] * 2
    assert [ask(limit, cells, 0).allowed for _ in range(5)] == [True] * 4 + [False]


def at(text: str, zone: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * SECOND


@pytest.mark.parametrize(
    ("span", "zone", "now", "begin", "end"),
    [
        ("day", "Europe/Berlin", "2026-03-29T12:00", "2026-03-29T00:00", "2026-03-30T00:00"),
        ("day", "Europe/Berlin", "2026-10-25T02:30", "2026-10-25T00:00", "2026-10-26T00:00"),
        # Clocks went from 0:00 to 1:00: the day began when the one before ended.
        ("day", "America/Sao_Paulo", "2018-11-04T10:00", "2018-11-04T01:00", "2018-11-05T00:00"),
        ("week", "Asia/Tokyo", "2026-11-26T09:00", "2026-11-23T00:00", "2026-11-30T00:00"),
        ("month", "America/New_York", "2024-02-29T23:59", "2024-02-01T00:00", "2024-03-01T00:00"),
        ("month", "Asia/Kathmandu", "2026-12-31T23:59", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("year", "UTC", "2028-02-29T01:00", "2028-01-01T00:00", "2029-01-01T00:00"),
        ("hour", "Asia/Kathmandu", "2026-11-26T10:20", "2026-11-26T10:00", "2026-11-26T11:00"),
    ],
)
def test_a_calendar_window_is_that_of_its_place(
    span: str, zone: str, now: str, begin: str, end: str
) -> None:
    limit = CalendarWindow(2, span, zone=ZoneInfo(zone))
    cells = fresh(limit)
    moment = at(now, zone)
    assert decide([limit], [cells], [moment], 2)
    assert (cells[0], cells[1]) == (at(begin, zone), at(end, zone))
    assert decide([limit], [cells], [moment]).retry_nanos == at(end, zone) - moment
    assert decide([limit], [cells], [at(end, zone)])


def test_a_day_on_which_clocks_change_is_as_long_as_it_is() -> None:
    limit = CalendarWindow(1, Span.DAY, zone=ZoneInfo("Europe/Berlin"))
    cells = fresh(limit)
    assert decide([limit], [cells], [at("2026-03-29T00:00", "Europe/Berlin")])
    assert cells[1] - cells[0] == 23 * 3600 * SECOND


@pytest.mark.parametrize(
    "limit", [FixedWindow("2/min"), CalendarWindow(2, "day", zone=UTC)], ids=lambda one: one.name
)
def test_a_clock_that_is_set_back_a_little_gives_no_quota_twice(limit: Limit) -> None:
    cells = fresh(limit)
    day = at("2026-11-26T00:00", "UTC")
    assert decide([limit], [cells], [day], 2)
    assert not decide([limit], [cells], [day - SECOND])
    assert decide([limit], [cells], [day - 3 * limit.period_nanos])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Gcra("0/s"), "not a rate"),
        (lambda: Gcra("5000000000/s"), "more than one a nanosecond"),
        (lambda: Gcra("10/s", burst=0), "burst is 0: nothing would ever pass"),
        (lambda: Gcra("1/d", burst=10**6), "more than a hundred years"),
        (lambda: FixedWindow("0.5/s"), "counts whole requests"),
        (lambda: SlidingLog("1000000/h"), "take a Gcra"),
        (lambda: LeakyBucket("1/s", queue=0), "take a Gcra"),
        (lambda: TokenBucket(5, 6, timedelta(seconds=1)), "refill is 6"),
        (lambda: CalendarWindow(5, "fortnight"), "give one of hour, day"),
        (lambda: Concurrency(0), "nothing would ever run"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused(make: object, text: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=text):
        make()
