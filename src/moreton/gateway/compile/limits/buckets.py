"""A rate as Envoy's token bucket, which fills all the time; a GCRA by another name."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction

from envoy.type.v3 import token_bucket_pb2

from moreton.gateway.core.limits import TOKENS_MAX
from moreton.ratelimit.core.rules.bounds import RateBound

# Envoy wants 50 ms or more between what it still calls fills, in whole milliseconds.
_FILL_MIN = timedelta(milliseconds=50)
_MILLISECOND = timedelta(milliseconds=1)


def bucket(bound: RateBound) -> token_bucket_pb2.TokenBucket:
    """The bucket of *bound*."""
    per = bound.rate.per
    count = Fraction(str(bound.rate.count))
    if count.denominator != 1:
        per, count = per * count.denominator, Fraction(count.numerator)
    shortest = max(_FILL_MIN, _MILLISECOND)
    if per < shortest or per % _MILLISECOND:
        times = -(-shortest // per)
        while (per * times) % _MILLISECOND:
            times += 1
        per, count = per * times, count * times
    out = token_bucket_pb2.TokenBucket(max_tokens=bound.burst)
    # More at once than can be counted fills any bucket.
    out.tokens_per_fill.value = min(int(count), TOKENS_MAX)
    out.fill_interval.FromTimedelta(per)
    return out
