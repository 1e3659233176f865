from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moreton.transactions.saga import Saga
from moreton.transactions.saga.schedules import Cron, Every, Schedule
from moreton.transactions.saga.schedules.firing import Verdict, verdict
from moreton.transactions.saga.schedules.rules import stamp, utc

MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
BERLIN = "Europe/Berlin"


def micros(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 10**6  # type: ignore[misc, arg-type]


def times(rule: Cron | Every, start: int, count: int) -> list[str]:
    found = []
    for _ in range(count):
        start = rule.after(start)
        found.append(utc(start).strftime("%m-%d %H:%M"))
    return found


NOON = micros(2026, 11, 27, 12)


@pytest.mark.parametrize(
    ("line", "due"),
    [
        ("0 3 * * *", ["11-28 03:00", "11-29 03:00", "11-30 03:00"]),
        ("*/20 12 * * *", ["11-27 12:20", "11-27 12:40", "11-28 12:00"]),
        ("0 9-17/4 * * mon-fri", ["11-27 13:00", "11-27 17:00", "11-30 09:00"]),
        ("15 0 1,15 dec *", ["12-01 00:15", "12-15 00:15", "12-01 00:15"]),
        ("0 0 13 * fri", ["12-04 00:00", "12-11 00:00", "12-13 00:00"]),  # either day will do
        ("@weekly", ["11-29 00:00", "12-06 00:00", "12-13 00:00"]),
        ("0 0 * * 7", ["11-29 00:00", "12-06 00:00", "12-13 00:00"]),
        ("0 0 29 feb *", ["02-29 00:00", "02-29 00:00", "02-29 00:00"]),
    ],
)
def test_cron_is_due_as_a_crontab_says(line: str, due: list[str]) -> None:
    assert times(Cron(line), NOON, 3) == due


def test_cron_comes_once_where_a_clock_skips_it_or_shows_it_twice() -> None:
    half_past_two = Cron("30 2 * * *", BERLIN)
    spring, autumn = micros(2026, 3, 28, 12), micros(2026, 10, 24, 12)
    assert times(half_past_two, spring, 2) == ["03-29 01:30", "03-30 00:30"]  # as 3:30
    assert times(half_past_two, autumn, 2) == ["10-25 00:30", "10-26 01:30"]


def test_cron_of_every_hour_follows_real_time_when_clocks_are_changed() -> None:
    hourly = Cron("0 * * * *", BERLIN)
    for start in (micros(2026, 3, 28, 22), micros(2026, 10, 24, 22)):
        due = [hourly.after(start + n * HOUR) for n in range(6)]
        assert due == [start + n * HOUR for n in range(1, 7)]


@pytest.mark.parametrize(
    ("line", "zone", "said"),
    [
        ("0 3 * *", "UTC", "4 fields"),
        ("60 * * * *", "UTC", "minute is '60': give 0 to 59"),
        ("* * * foo *", "UTC", "month is 'foo': give 1 to 12 or jan to dec"),
        ("*/0 * * * *", "UTC", r"minute is '\*/0'"),
        ("0 0 30 2 *", "UTC", "no such day ever comes"),
        ("0 3 * * *", "Mars/Olympus", "this machine does not know"),
    ],
)
def test_line_that_means_nothing_is_refused_with_what_to_give(
    line: str, zone: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        Cron(line, zone)


def test_every_is_counted_from_the_same_moment_by_everybody() -> None:
    assert times(Every(timedelta(minutes=5)), NOON + 1, 2) == ["11-27 12:05", "11-27 12:10"]
    shifted = Every(timedelta(hours=6), timedelta(hours=1))
    assert times(shifted, NOON, 2) == ["11-27 13:00", "11-27 19:00"]


@pytest.mark.parametrize("length", [timedelta(0), timedelta(milliseconds=200)])
def test_interval_that_nobody_could_keep_is_refused(length: timedelta) -> None:
    with pytest.raises(ValueError, match="interval is"):
        Every(length)


RULES = st.sampled_from(
    [
        Every(timedelta(seconds=7)),
        Every(timedelta(minutes=5), timedelta(seconds=3)),
        Cron("*/7 * * * *", BERLIN),
        Cron("30 2 * * *", BERLIN),
        Cron("0 0 31 * *"),
    ]
)


@settings(max_examples=30)
@given(RULES, st.integers(0, 40 * DAY), st.integers(0, 3 * HOUR), st.integers(1, 5))
def test_newest_due_times_are_those_that_follow_one_by_one(
    rule: Cron | Every, start: int, length: int, most: int
) -> None:
    since = micros(2026, 10, 1) + start
    one_by_one, due = [], rule.after(since - 1)
    while due <= since + length:
        one_by_one.append(due)
        due = rule.after(due)
    assert rule.latest(since + length, since, most) == one_by_one[-most:]


EVERY = Every(timedelta(minutes=5))
GRACE = MINUTE


@pytest.mark.parametrize(
    ("due", "catch_up", "fires", "following"),
    [
        (NOON + 5 * MINUTE, 0, None, NOON + 5 * MINUTE),  # not yet
        (NOON, 0, NOON, NOON + 5 * MINUTE),  # now
        (NOON - 60 * MINUTE, 0, NOON, NOON + 5 * MINUTE),  # the last one is in its time
        (NOON - 60 * MINUTE, 3, NOON - 10 * MINUTE, NOON - 5 * MINUTE),
        (NOON - 10 * MINUTE, 100, NOON - 10 * MINUTE, NOON - 5 * MINUTE),
        (NOON - 7, 0, NOON - 7, NOON),  # a person asked for it
    ],
)
def test_what_is_due_is_begun_and_what_passed_as_the_schedule_says(
    due: int, catch_up: int, fires: int | None, following: int
) -> None:
    found = verdict(EVERY, due, NOON, catch_up=catch_up, grace=GRACE)
    assert found == Verdict(fires, following)


def test_what_passed_is_left_out_after_its_grace() -> None:
    late = NOON + 2 * MINUTE
    assert verdict(EVERY, NOON, late, catch_up=0, grace=GRACE) == Verdict(None, NOON + 5 * MINUTE)
    assert verdict(EVERY, NOON, late, catch_up=1, grace=GRACE).fire == NOON


def test_calendar_that_was_years_ahead_stops_no_schedule() -> None:
    ahead = NOON + 4 * 365 * DAY
    back = verdict(EVERY, ahead, NOON, catch_up=5, grace=GRACE)
    assert back == Verdict(None, NOON + 5 * MINUTE)
    # One that goes back a little is waited for, so that nothing is due twice.
    little = verdict(EVERY, NOON + 30 * MINUTE, NOON, catch_up=5, grace=GRACE)
    assert little == Verdict(None, NOON + 30 * MINUTE)


def test_stamp_of_a_time_is_short_where_that_is_exact() -> None:
    assert stamp(NOON) == "2026-11-27T12:00:00Z"
    assert stamp(NOON + 1) == "2026-11-27T12:00:00.000001Z"


def test_schedule_that_cannot_be_meant_is_refused() -> None:
    saga = Saga("tick")
    with pytest.raises(ValueError, match="without an @"):
        Schedule("a@b", saga, EVERY)
    with pytest.raises(TypeError, match="when is '0 3"):
        Schedule("a", saga, "0 3 * * *")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="catch_up is -1"):
        Schedule("a", saga, EVERY, catch_up=-1)
