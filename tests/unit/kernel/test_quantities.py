from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.kernel.ids import new_id
from moreton.kernel.quantities import (
    format_duration,
    parse_duration,
    parse_percentage,
    parse_rate,
    parse_size,
)
from moreton.kernel.rng import seeded_rng
from moreton.kernel.time import Instant

DURATIONS = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=10_000))


@given(DURATIONS)
def test_duration_survives_writing_and_reading(length: timedelta) -> None:
    assert parse_duration(format_duration(length)) == length


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("5s", 5),
        ("2m", 120),
        ("1h", 3600),
        ("1d", 86_400),
        ("0", 0),
        ("1.5s", 1.5),
    ],
)
def test_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "5 parsecs", "-1s", "s", "1e3s", "1s 2s"])
def test_bad_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write one like"):
        parse_duration(text)


def test_duration_that_no_date_can_be_reckoned_with_is_refused() -> None:
    assert parse_duration("36500d") == timedelta(days=36_500)
    for text in ("36501d", "99999999999999d", "9" * 400 + "s"):
        with pytest.raises(ValueError, match="is too long; write a duration of at most 36500d"):
            parse_duration(text)


@pytest.mark.parametrize("text", ["1/99999999999999d", f"{'9' * 400}/s", f"1/{'9' * 400}h"])
def test_rate_that_cannot_be_counted_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="beyond what is counted; write at most 15 digits"):
        parse_rate(text)


def test_sizes_rates_and_percentages_are_read() -> None:
    assert parse_size("64KiB") == 65_536
    assert parse_size("1MB") == 1_000_000
    assert parse_percentage("25%") == 0.25
    assert parse_rate("100/s").per_second == 100
    assert parse_rate("60/min").per_second == 1
    assert parse_rate("600/5min").per_second == 2


@pytest.mark.parametrize("text", ["101%", "25", "%", "-5%"])
def test_bad_percentage_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"%"):
        parse_percentage(text)


@pytest.mark.parametrize("text", ["0/s", "5", "5/fortnight", "/s"])
def test_bad_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a rate"):
        parse_rate(text)


@pytest.mark.parametrize("text", ["12", "5 KB/s", "x"])
def test_bad_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@given(DURATIONS, DURATIONS)
def test_instants_add_and_subtract(one: timedelta, other: timedelta) -> None:
    start = Instant(17)
    assert (start + one) - start == one
    assert (start + one + other) - (start + one) == other


def test_ids_sort_by_time_and_differ() -> None:
    rng = seeded_rng(1)
    moments = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=n) for n in range(50)]
    ids = [new_id(moment, rng) for moment in moments]
    assert ids == sorted(ids)
    assert len({*ids, new_id(moments[0], rng)}) == 51
    assert {len(each) for each in ids} == {26}
