from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.gateway.compile.limits.buckets import bucket
from moreton.kernel.quantities import Rate, parse_rate
from moreton.ratelimit.core.rules.bounds import RateBound

MILLI = 10**6


@pytest.mark.parametrize(
    ("rate", "tokens", "millis"),
    [
        ("100/s", 100, 1000),
        ("20/5min", 20, 300_000),
        ("0.5/s", 1, 2000),
        ("2.25/min", 9, 240_000),
        ("1/h", 1, 3_600_000),
        ("4000000000.5/s", 2**32 - 1, 2000),
    ],
)
def test_bucket_fills_at_the_rate(rate: str, tokens: int, millis: int) -> None:
    made = bucket(RateBound(parse_rate(rate), 7))
    assert made.max_tokens == 7
    assert made.tokens_per_fill.value == tokens
    assert made.fill_interval.ToMilliseconds() == millis


@given(
    count=st.integers(1, 10**5).map(lambda number: number / 4),
    micros=st.sampled_from([1, 999, 1000, 1500, 49_999, 50_000, 10**6]),
)
def test_bucket_never_fills_faster_than_its_rate_nor_in_steps_that_envoy_refuses(
    count: float, micros: int
) -> None:
    rate = Rate(count, parse_rate("1/s").per * micros / 10**6)
    made = bucket(RateBound(rate, 1))
    millis, rest = divmod(made.fill_interval.ToNanoseconds(), MILLI)
    assert rest == 0
    assert millis >= 50
    exact = Fraction(count) / Fraction(micros, 1000)
    assert Fraction(made.tokens_per_fill.value, millis) == exact
