"""Four processes that share one limit through a file, without a server: how many a second, exactly.

All ask at once for the same key. One run lets all pass, and its clock gives the rate; in another
there is less than they ask for, and the sum of what they got is compared with the limit.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

from rich.console import Console

from bench.report import Result, median
from moreton.ratelimit import Gcra
from moreton.ratelimit.shared import SharedLimiter

_PROCESSES = 4
_WANTED = 200_000
_LIMIT = 100_000


def measure(result: Result, ours: dict[str, float], *, quick: bool, console: Console) -> None:
    """Put the rate and the exactness into *result*."""
    asks = 50_000 if quick else 200_000
    rates = []
    for number in range(3 if quick else 7):
        seconds, got = _round("1000000000/s", asks)
        rates.append(_PROCESSES * asks / seconds)
        assert got == _PROCESSES * asks
        console.print(f"shared, round {number + 1}: {rates[-1]:,.0f}/s", highlight=False)
    _, got = _round(f"{_LIMIT}/365d", asks)
    ours[f"{_PROCESSES} processes, one key, decisions/s in sum"] = median(rates)
    ours[f"passed of {_LIMIT:,}"] = got
    result.checks[f"{_PROCESSES} processes >= {_WANTED:,} decisions/s"] = median(rates) >= _WANTED
    result.checks["exactly the limit passed"] = got == _LIMIT


def _round(rate: str, asks: int) -> tuple[float, int]:
    """Seconds from the first to the last decision, and how many passed."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="moreton-bench-", dir=_memory()) as folder:
        barrier = context.Barrier(_PROCESSES)
        with context.Pool(_PROCESSES, _begin, (barrier,)) as pool:
            work = [(f"{folder}/limits", rate, asks)] * _PROCESSES
            found = pool.map(_ask, work, chunksize=1)
    return max(end for _, end, _ in found) - min(start for start, _, _ in found), sum(
        got for _, _, got in found
    )


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - where limits belong


_barrier: Barrier


def _begin(barrier: Barrier) -> None:
    global _barrier  # noqa: PLW0603 - how a pool hands it over
    _barrier = barrier


def _ask(work: tuple[str, str, int]) -> tuple[float, float, int]:
    path, rate, asks = work
    allow = SharedLimiter(path, Gcra(rate), keys_max=64).allow
    allow("everyone", 0)
    _barrier.wait()
    start = time.monotonic()
    got = sum(allow("everyone") for _ in range(asks))
    return start, time.monotonic(), got
