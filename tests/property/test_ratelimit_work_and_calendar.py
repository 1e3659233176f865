"""Limits on work under way, queues and calendars against dumb twins that remember everything."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moreton.kernel.quantities import Rate
from moreton.ratelimit.core.calendar import CalendarWindow, Span
from moreton.ratelimit.core.decision import decide
from moreton.ratelimit.core.gcra import LeakyBucket
from moreton.ratelimit.core.limit import NEVER, fresh
from moreton.ratelimit.core.rings import AdaptiveConcurrency, AnsweredWindow, Concurrency
from moreton.resilience.core.limits import Gradient2

START = 1_700_000_000_000_000_000
HOUR = 3_600 * 10**9
MICRO = timedelta(microseconds=1)
GAPS = st.one_of(st.integers(0, 20_000), st.sampled_from([0, 1000, 1001]))


@settings(max_examples=30)
@given(
    st.integers(1, 50),
    st.integers(1, 9),
    st.lists(st.tuples(GAPS, st.integers(1, 5)), max_size=40),
)
def test_a_leaky_bucket_serves_as_a_queue_with_one_clerk_does(
    per: int, queue: int, steps: list[tuple[int, int]]
) -> None:
    limit = LeakyBucket(Rate(1, per * MICRO), queue)
    cells, now, clerk_is_free_at = fresh(limit), START, START
    for gap, cost in steps:
        now += gap
        begins = max(now, clerk_is_free_at)
        ends = begins + cost * limit.interval
        has_room = ends - now <= (queue + 1) * limit.interval
        found = decide([limit], [cells], [now], cost)
        assert found.allowed == has_room
        if has_room:
            assert found.delay_nanos == begins - now
            clerk_is_free_at = ends
        elif cost <= queue + 1:
            # Once it may come there is room for it, and not before.
            assert found.retry_nanos == ends - now - (queue + 1) * limit.interval
        else:
            assert found.retry_nanos == NEVER


# Ask for so much, or give back the n-th of what is under way.
WORK = st.lists(st.tuples(GAPS, st.one_of(st.integers(1, 4), st.integers(-6, -1))), max_size=50)


@settings(max_examples=30)
@pytest.mark.parametrize("kind", ["concurrency", "answered", "adaptive"])
@given(st.integers(1, 6), st.integers(1, 60), WORK)
def test_work_is_let_in_while_there_is_a_place_for_it(
    kind: str, quota: int, per: int, steps: list[tuple[int, int]]
) -> None:
    hold = per * MICRO
    limit: Concurrency
    if kind == "answered":
        limit = AnsweredWindow(Rate(quota, 2 * hold), hold=hold)
    elif kind == "adaptive":
        limit = AdaptiveConcurrency(Gradient2(initial=quota, lowest=1, highest=20), hold=hold)
    else:
        limit = Concurrency(quota, hold=hold)
    cells, now = fresh(limit), START
    taken: list[tuple[int, int]] = []  # when, how much: not given back yet
    places: Counter[int] = Counter()  # when they are free -> how many
    for gap, what in steps:
        now += gap
        if what > 0:
            busy = sum(count for free_at, count in places.items() if free_at > now)
            found = decide([limit], [cells], [now], what)
            assert found.allowed == (busy + what <= limit.present_quota)
            if found:
                taken.append((now, what))
                places[now + limit.hold] += what
        elif -what <= len(taken):
            moment, count = taken.pop(-what - 1)
            if now < moment + limit.hold:
                # What was taken for lost is nobody's any more.
                places[moment + limit.hold] -= count
                if isinstance(limit, AnsweredWindow):
                    places[now + limit.gap] += count
                limit.give(cells, now, count, moment)


# Where clocks were changed, by how much ever, or a day was left out; and the ends of years.
EDGES = [
    ("Europe/Berlin", "2026-03-29T01:00"),
    ("Europe/Berlin", "2026-10-25T01:00"),
    ("America/Sao_Paulo", "2018-02-18T02:00"),
    ("America/Sao_Paulo", "2018-11-04T03:00"),
    ("America/Havana", "2026-11-01T05:00"),
    ("Asia/Beirut", "2026-03-28T22:00"),
    ("Australia/Lord_Howe", "2026-04-04T15:00"),
    ("Australia/Lord_Howe", "2026-10-03T15:30"),
    ("Pacific/Apia", "2011-12-30T10:00"),
    ("Antarctica/Troll", "2026-10-25T01:00"),
    ("Asia/Kathmandu", "2026-12-31T18:15"),
    ("UTC", "2028-02-29T00:00"),
]


def label(span: Span, now: int, zone: ZoneInfo) -> object:
    """What the calendar of *zone* calls the span that *now* is in."""
    local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=now // 1000)).astimezone(
        zone
    )
    names = {
        # An hour that comes twice is two.
        Span.HOUR: (local.date(), local.hour, local.utcoffset()),
        Span.DAY: local.date(),
        Span.WEEK: local.isocalendar()[:2],
        Span.MONTH: (local.year, local.month),
        Span.YEAR: local.year,
    }
    return names[span]


@settings(max_examples=30)
@pytest.mark.parametrize("span", list(Span))
@given(
    st.sampled_from(EDGES),
    st.integers(0, 3 * HOUR),
    st.lists(
        st.tuples(
            st.sampled_from([0, 0, 10**9, HOUR // 4, HOUR // 3, HOUR, 12 * HOUR]),
            st.integers(1, 3),
        ),
        max_size=30,
    ),
)
def test_a_quota_of_the_calendar_is_what_its_place_calls_a_day(
    span: Span, edge: tuple[str, str], before: int, steps: list[tuple[int, int]]
) -> None:
    zone = ZoneInfo(edge[0])
    limit = CalendarWindow(4, span, zone=zone)
    cells = fresh(limit)
    now = int(datetime.fromisoformat(f"{edge[1]}+00:00").timestamp()) * 10**9 - before
    used: Counter[object] = Counter()
    for gap, cost in steps:
        now += gap
        name = label(span, now, zone)
        found = decide([limit], [cells], [now], cost)
        assert found.allowed == (used[name] + cost <= limit.quota)
        if found:
            used[name] += cost
        else:
            # Then it has another name, and a microsecond before, as calendars are here, it has not.
            free = now + found.retry_nanos
            assert label(span, free, zone) != name
            assert label(span, free - 1000, zone) == name
