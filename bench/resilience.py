"""What resilience costs a call: nanoseconds above the bare call, against the peers.

Every row does the same work: a function that returns at once, or fails at once and is tried three
times without a wait, where the bare call is a loop written by hand. Peers take turns within a
round; a row's figure is the median over the rounds of the least of three runs. A breaker's memory
is what 100,000 used ones hold.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import time
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rich.console import Console

from bench.report import Result, median
from moreton.resilience import (
    Breakers,
    Bulkhead,
    CircuitBreaker,
    Policy,
    Retry,
    Timeout,
    TotalTimeout,
)
from moreton.resilience.timing import SystemTiming

_ATTEMPTS = 3
_KEYS = 100_000
_WANTED = 3.0
_PIPELINE_NS_MAX = 3_000
_MEGABYTES_MAX = 60
_OURS = "moreton"
Call = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Row:
    """The work without any library, and by each contender."""

    bare: Call
    contenders: Mapping[str, Call]


class _NoWait(SystemTiming):
    waits = False


def run(*, quick: bool, console: Console) -> Result:
    """Measure every row."""
    rounds, calls = (3, 2_000) if quick else (7, 4_000)
    ours: dict[str, float] = {}
    peers: dict[str, dict[str, float]] = {}
    ratio: dict[str, float] = {}
    checks: dict[str, bool] = {}
    for name, row in _rows().items():
        console.print(name, highlight=False)
        figures = _measure(row, rounds, calls)
        ours[name] = figures.pop(_OURS)
        for peer, figure in figures.items():
            peers.setdefault(peer, {})[name] = figure
        if figures:
            fastest = min(figures, key=lambda peer: figures[peer])
            ratio[f"{fastest}, {name}"] = figures[fastest] / ours[name]
            checks[f"{name}: {_WANTED:g} times less than {fastest}"] = (
                figures[fastest] >= _WANTED * ours[name]
            )
        else:
            checks[f"{name} <= {_PIPELINE_NS_MAX} ns"] = ours[name] <= _PIPELINE_NS_MAX
    ours["MB for 100,000 breakers"] = _megabytes()
    checks[f"100,000 breakers <= {_MEGABYTES_MAX} MB"] = (
        ours["MB for 100,000 breakers"] <= _MEGABYTES_MAX
    )
    notes = [
        "circuitbreaker counts failures in a row, without a window, a rate or a lock",
        "the five layers: total timeout, retry, breaker, bulkhead, timeout",
    ]
    return Result("resilience", "ns a call", ours, dict(peers), ratio, checks, notes)


def _rows() -> Mapping[str, Row]:
    """Every comparison."""
    tenacity, stamina, backoff, circuitbreaker, pybreaker, aiobreaker = map(
        importlib.import_module,
        ("tenacity", "stamina", "backoff", "circuitbreaker", "pybreaker", "aiobreaker"),
    )
    stamina.instrumentation.set_on_retry_hooks([])
    again = {
        _OURS: Retry(
            attempts=_ATTEMPTS, on=ValueError, idempotent=True, budget=None, timing=_NoWait()
        ),
        "tenacity": tenacity.retry(
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            retry=tenacity.retry_if_exception_type(ValueError),
            reraise=True,
        ),
        "stamina": stamina.retry(
            on=ValueError, attempts=_ATTEMPTS, wait_initial=0, wait_max=0, wait_jitter=0
        ),
        "backoff": backoff.on_exception(
            backoff.constant, ValueError, max_tries=_ATTEMPTS, interval=0, jitter=None, logger=None
        ),
    }
    breakers = {
        _OURS: CircuitBreaker(),
        "circuitbreaker": circuitbreaker.CircuitBreaker(failure_threshold=5),
        "pybreaker": pybreaker.CircuitBreaker(fail_max=5),
        "aiobreaker": aiobreaker.CircuitBreaker(fail_max=5),
    }
    five = Policy(
        TotalTimeout(timedelta(seconds=10)),
        Retry(idempotent=True),
        CircuitBreaker(),
        Bulkhead(20),
        Timeout(timedelta(seconds=2)),
    )
    asynchronous = {name: breakers[name] for name in (_OURS, "circuitbreaker", "aiobreaker")}
    return {
        "retry, success": _row(_good, again),
        "retry, failure": _row(_bad, again, _expect, _three_times),
        "retry, async success": _row(_good_async, again),
        "retry, async failure": _row(_bad_async, again, _expect_async, _three_times_async),
        "breaker, success": _row(_good, breakers),
        "breaker, async success": _row(_good_async, asynchronous),
        "breaker, refusal": _row(_bad, _open(circuitbreaker, pybreaker, aiobreaker), _expect),
        "five layers": _row(_good, {_OURS: five}),
        "five layers, async": _row(_good_async, {_OURS: five}),
    }


def _same(call: Call) -> Call:
    return call


def _row(
    function: Call, wraps: Mapping[str, Call], around: Call = _same, by_hand: Call = _same
) -> Row:
    wrapped = {name: around(wrap(function)) for name, wrap in wraps.items()}
    return Row(around(by_hand(function)), wrapped)


def _three_times(call: Call) -> Call:
    """*call*, repeated by hand: what any retry has to do."""

    def repeating() -> Any:
        for _ in range(_ATTEMPTS - 1):
            try:
                return call()
            except ValueError:
                continue
        return call()

    return repeating


def _three_times_async(call: Call) -> Call:
    """*call*, repeated by hand: what any retry has to do."""

    async def repeating() -> Any:
        for _ in range(_ATTEMPTS - 1):
            try:
                return await call()
            except ValueError:
                continue
        return await call()

    return repeating


def _open(circuitbreaker: Any, pybreaker: Any, aiobreaker: Any) -> Mapping[str, Call]:
    """Breakers that refuse every call."""
    found: dict[str, Call] = {
        _OURS: CircuitBreaker(),
        "circuitbreaker": circuitbreaker.CircuitBreaker(failure_threshold=1, recovery_timeout=3600),
        "pybreaker": pybreaker.CircuitBreaker(fail_max=1, reset_timeout=3600),
        "aiobreaker": aiobreaker.CircuitBreaker(fail_max=1, timeout_duration=timedelta(hours=1)),
    }
    for breaker in found.values():
        guarded = breaker(_bad)
        for _ in range(30):
            _expect(guarded)()
    return found


def _good(value: int = 1) -> int:
    return value


def _bad(value: int = 1) -> int:
    raise ValueError(value)


async def _good_async(value: int = 1) -> int:
    return value


async def _bad_async(value: int = 1) -> int:
    raise ValueError(value)


def _expect(call: Call) -> Call:
    """*call*, whose error is awaited."""

    def expecting() -> None:
        try:
            call()
        except Exception:  # noqa: BLE001 - each peer has its own
            return
        raise AssertionError("the call was to fail")

    return expecting


def _expect_async(call: Call) -> Call:
    """*call*, whose error is awaited."""

    async def expecting() -> None:
        try:
            await call()
        except Exception:  # noqa: BLE001 - each peer has its own
            return
        raise AssertionError("the call was to fail")

    return expecting


def _measure(row: Row, rounds: int, calls: int) -> dict[str, float]:
    """Nanoseconds a call above the bare function, for each contender."""
    found: dict[str, list[float]] = {name: [] for name in row.contenders}
    for _ in range(rounds):
        base = _least(row.bare, calls)
        for name, call in row.contenders.items():
            found[name].append(_least(call, calls) - base)
    return {name: median(values) for name, values in found.items()}


def _least(call: Call, calls: int) -> float:
    if inspect.iscoroutinefunction(call):
        return asyncio.run(_least_async(call, calls))
    found = []
    for _ in range(3):
        start = time.perf_counter_ns()
        for _ in range(calls):
            call()
        found.append((time.perf_counter_ns() - start) / calls)
    return min(found)


async def _least_async(call: Call, calls: int) -> float:
    found = []
    for _ in range(3):
        start = time.perf_counter_ns()
        for _ in range(calls):
            await call()
        found.append((time.perf_counter_ns() - start) / calls)
    return min(found)


def _megabytes() -> float:
    keys = [f"tenant-{number}" for number in range(_KEYS)]
    breakers = Breakers()
    tracemalloc.start()
    for key in keys:
        breakers[key](_good)()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return used / 1e6
