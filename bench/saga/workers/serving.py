"""What the workers have in common: orders in, rates out, for a time."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from bench.report import median

began: list[float] = []  # when each step of the last sequential run began
_WARM_SECONDS = 0.1


def orders() -> Iterator[dict[str, Any]]:
    """One a line."""
    answer(0.0)
    for line in sys.stdin:
        yield json.loads(line)


def answer(rate: float, steps: int = 0) -> None:
    """Workflows a second, and the median gap between the steps of one workflow, in ms."""
    gaps = [
        (began[i + 1] - began[i]) * 1000
        for i in range(len(began) - 1)
        if steps and i % steps != steps - 1
    ]
    print("bench " + json.dumps([rate, median(gaps)]), flush=True)


def in_turn(run: Callable[[], object], seconds: float) -> float:
    """How often a second *run* is done, one after the other."""
    for length in (min(_WARM_SECONDS, seconds / 4), seconds):
        began.clear()
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < length:
            run()
            done += 1
        rate = done / (time.perf_counter() - start)
    return rate


async def at_once(run: Callable[[], Awaitable[object]], count: int, seconds: float) -> float:
    """How often a second *run* is done by *count* who do it one after the other."""
    for length in (min(_WARM_SECONDS, seconds / 4), seconds):
        done = 0
        start = time.perf_counter()

        async def work(until: float) -> None:
            nonlocal done
            while time.perf_counter() < until:
                await run()
                done += 1

        await asyncio.gather(*[work(start + length) for _ in range(count)])
        rate = done / (time.perf_counter() - start)
    return rate
