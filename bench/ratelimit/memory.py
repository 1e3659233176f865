"""What 100,000 keys of one limit hold."""

from __future__ import annotations

import tracemalloc

from bench.report import Result
from moreton.ratelimit import Gcra, LocalLimiter

_KEYS = 100_000
_MEGABYTES_MAX = 25


def measure(result: Result, ours: dict[str, float]) -> None:
    """Put the megabytes into *result*; the keys themselves are the caller's."""
    keys = [f"tenant-{number}" for number in range(_KEYS)]
    limiter = LocalLimiter(Gcra("1/h"))
    tracemalloc.start()
    for key in keys:
        limiter.allow(key)
    used = tracemalloc.get_traced_memory()[0] / 1e6
    tracemalloc.stop()
    ours["MB for 100,000 keys"] = used
    result.checks[f"100,000 keys <= {_MEGABYTES_MAX} MB"] = (
        used <= _MEGABYTES_MAX and limiter.statistics().keys == _KEYS
    )
