from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.registry.consul.core.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("0", 0),
        ("+0", 0),
        ("-0", 0),
        ("5s", 5_000_000_000),
        ("1h30m", 5_400_000_000_000),
        ("-1.5h", -5_400_000_000_000),
        ("120000ms", 120_000_000_000),
        (".5s", 500_000_000),
        ("5.s", 5_000_000_000),
        ("1us", 1_000),
        ("1µs", 1_000),
        ("1\u03bcs", 1_000),
        ("9223372036854775807ns", (1 << 63) - 1),
        ("0.3333333333333333333h", 1_200_000_000_000 - 1),
    ],
)
def test_duration_is_read_as_go_reads_it(text: str, nanos: int) -> None:
    assert parse_duration(text) == nanos


@pytest.mark.parametrize(
    "text",
    [
        *("", "5", "s", ".s", "+", "-", "1 s", "1S", "1d", "1.2.3s", "1s2", "3000000h"),
        *("9223372036854775808ns", "\u0663s", "1s" * 33),
    ],
)
def test_what_go_does_not_read_is_refused_in_its_words(text: str) -> None:
    with pytest.raises(ValueError, match="time: invalid duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_100, "1.1µs"),
        (2_200_000, "2.2ms"),
        (3_300_000_000, "3.3s"),
        (10_000_000_000, "10s"),
        (245_000_000_000, "4m5s"),
        (245_001_000_000, "4m5.001s"),
        (18_367_001_000_000, "5h6m7.001s"),
        (3_600_000_000_000, "1h0m0s"),
        (-90_000_000_000, "-1m30s"),
    ],
)
def test_duration_is_printed_as_go_prints_it(nanos: int, text: str) -> None:
    assert format_duration(nanos) == text


@given(st.integers(-(1 << 63) + 1, (1 << 63) - 1))
def test_what_is_printed_is_read_back(nanos: int) -> None:
    assert parse_duration(format_duration(nanos)) == nanos
