"""What resilience costs a call: nanoseconds above the bare call, against the peers.

Every row does the same work: a function that returns at once, or fails at once and is tried three
times without a wait, where the bare call is a loop written by hand. Contenders take turns within a
round; a row's figure is the median over the rounds of the least of three runs. Time is that of the
thread on its processor, so that other programs on the machine count little; a bound in nanoseconds
is held by the best round, as what is left of them only adds. A breaker's memory is what 100,000
used ones hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import itertools
import time
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rich.console import Console

from bench.report import Result, median
from moreton.resilience import (
    BreakerPolicy,
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
_RUNS = 3
_RUN_NS = 4_000_000
_CALLS_MIN = 20
_OURS = "moreton"
Call = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Row:
    """The work without any library, and by each contender; those *aside* are shown, not judged."""

    bare: Call
    contenders: Mapping[str, Call]
    aside: frozenset[str] = frozenset()


class _NoWait(SystemTiming):
    waits = False


def run(*, quick: bool, console: Console) -> Result:
    """Measure every row."""
    rounds = 5 if quick else 15
    ours: dict[str, float] = {}
    peers: dict[str, dict[str, float]] = {}
    ratio: dict[str, float] = {}
    checks: dict[str, bool] = {}
    least: dict[str, float] = {}
    for name, row in _rows().items():
        console.print(name, highlight=False)
        found = _measure(row, rounds)
        least[name] = min(found[_OURS])
        figures = {contender: median(times) for contender, times in found.items()}
        ours[name] = figures.pop(_OURS)
        for peer, figure in figures.items():
            peers.setdefault(peer, {})[name] = figure
        for peer in row.aside:
            ratio[f"{peer}, {name} (aside)"] = figures.pop(peer) / ours[name]
        if figures:
            fastest = min(figures, key=lambda peer: figures[peer])
            ratio[f"{fastest}, {name}"] = figures[fastest] / ours[name]
            checks[f"{name}: {_WANTED:g} times less than {fastest}"] = (
                figures[fastest] >= _WANTED * ours[name]
            )
        else:
            checks[f"{name} <= {_PIPELINE_NS_MAX} ns"] = least[name] <= _PIPELINE_NS_MAX
    ours["MB for 100,000 breakers"] = _megabytes()
    checks[f"100,000 breakers <= {_MEGABYTES_MAX} MB"] = (
        ours["MB for 100,000 breakers"] <= _MEGABYTES_MAX
    )
    notes = [
        "circuitbreaker counts failures in a row: no window, no rate, no lock",
        "so it stands aside where a failed call is counted",
        "the five layers: total timeout, retry, breaker, bulkhead, timeout",
        "ours in the best round: "
        + "; ".join(f"{name} {figure:,.0f}" for name, figure in least.items()),
    ]
    return Result("resilience", "ns a call", ours, dict(peers), ratio, checks, notes)


def _rows() -> Mapping[str, Row]:
    """Every comparison."""
    return _retry_rows() | _breaker_rows() | _pipeline_rows()


def _retry_rows() -> dict[str, Row]:
    tenacity, stamina, backoff = map(importlib.import_module, ("tenacity", "stamina", "backoff"))
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
    return {
        "retry, success": _row(_good, again),
        "retry, failure": _row(_bad, again, _expect, _three_times),
        "retry, async success": _row(_good_async, again),
        "retry, async failure": _row(_bad_async, again, _expect_async, _three_times_async),
    }


def _breaker_rows() -> dict[str, Row]:
    breakers = _breakers(5)
    # A success in ten calls keeps all of them closed.
    failing = _breakers(20, CircuitBreaker(BreakerPolicy(failure_rate=1.0)))
    opened = _breakers(1)
    for breaker in opened.values():
        guarded = breaker(_bad)
        for _ in range(30):
            _expect(guarded)()
    aside = frozenset({"circuitbreaker"})
    return {
        "breaker, success": _row(_good, breakers),
        "breaker, async success": _row(_good_async, _asynchronous(breakers)),
        "breaker, failure": _row(_mostly_bad, failing, _either, aside=aside),
        "breaker, async failure": _row(
            _mostly_bad_async, _asynchronous(failing), _either_async, aside=aside
        ),
        "breaker, refusal": _row(_bad, opened, _expect),
        "breaker, async refusal": _row(_bad_async, _asynchronous(opened), _expect_async),
    }


def _breakers(failures: int, ours: CircuitBreaker | None = None) -> dict[str, Call]:
    """Breakers that open after so many *failures* in a row, and stay open."""
    circuitbreaker, pybreaker, aiobreaker = map(
        importlib.import_module, ("circuitbreaker", "pybreaker", "aiobreaker")
    )
    hour = timedelta(hours=1)
    return {
        _OURS: ours or CircuitBreaker(BreakerPolicy(open_for=hour)),
        "circuitbreaker": circuitbreaker.CircuitBreaker(failures, hour.total_seconds()),
        "pybreaker": pybreaker.CircuitBreaker(failures, hour.total_seconds()),
        "aiobreaker": aiobreaker.CircuitBreaker(failures, hour),
    }


def _asynchronous(breakers: Mapping[str, Call]) -> dict[str, Call]:
    """Those that guard coroutine functions too."""
    return {name: breakers[name] for name in (_OURS, "circuitbreaker", "aiobreaker")}


def _pipeline_rows() -> dict[str, Row]:
    five = Policy(
        TotalTimeout(timedelta(seconds=10)),
        Retry(idempotent=True),
        CircuitBreaker(),
        Bulkhead(20),
        Timeout(timedelta(seconds=2)),
    )
    return {
        "five layers": _row(_good, {_OURS: five}),
        "five layers, async": _row(_good_async, {_OURS: five}),
    }


def _same(call: Call) -> Call:
    return call


def _row(
    function: Call,
    wraps: Mapping[str, Call],
    around: Call = _same,
    by_hand: Call = _same,
    *,
    aside: frozenset[str] = frozenset(),
) -> Row:
    wrapped = {name: around(wrap(function)) for name, wrap in wraps.items()}
    return Row(around(by_hand(function)), wrapped, aside)


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


def _good(value: int = 1) -> int:
    return value


def _bad(value: int = 1) -> int:
    raise ValueError(value)


async def _good_async(value: int = 1) -> int:
    return value


async def _bad_async(value: int = 1) -> int:
    raise ValueError(value)


_calls_made = itertools.count(1)


def _mostly_bad() -> int:
    if next(_calls_made) % 10:
        raise ValueError
    return 1


async def _mostly_bad_async() -> int:
    if next(_calls_made) % 10:
        raise ValueError
    return 1


def _either(call: Call) -> Call:
    """*call*, whether it fails or not."""

    def either() -> None:
        with contextlib.suppress(ValueError):
            call()

    return either


def _either_async(call: Call) -> Call:
    """*call*, whether it fails or not."""

    async def either() -> None:
        with contextlib.suppress(ValueError):
            await call()

    return either


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


def _measure(row: Row, rounds: int) -> dict[str, list[float]]:
    """Nanoseconds a call above the bare function, of each contender in each round."""
    calls = {name: _calls(call) for name, call in row.contenders.items()}
    bare = _calls(row.bare)
    found: dict[str, list[float]] = {name: [] for name in row.contenders}
    for _ in range(rounds):
        for name, call in row.contenders.items():
            found[name].append(_least(call, calls[name]) - _least(row.bare, bare))
    return found


def _calls(call: Call) -> int:
    """How many calls make a run long enough to be measured and short enough to be repeated."""
    return max(_CALLS_MIN, round(_RUN_NS / _least(call, _CALLS_MIN)))


def _least(call: Call, calls: int) -> float:
    run = _run_async if inspect.iscoroutinefunction(call) else _run
    return min(run(call, calls) for _ in range(_RUNS)) / calls


def _run(call: Call, calls: int) -> int:
    start = time.thread_time_ns()
    for _ in range(calls):
        call()
    return time.thread_time_ns() - start


def _run_async(call: Call, calls: int) -> int:
    async def run() -> int:
        start = time.thread_time_ns()
        for _ in range(calls):
            await call()
        return time.thread_time_ns() - start

    return asyncio.run(run())


def _megabytes() -> float:
    keys = [f"tenant-{number}" for number in range(_KEYS)]
    breakers = Breakers()
    tracemalloc.start()
    for key in keys:
        breakers[key](_good)()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return used / 1e6
