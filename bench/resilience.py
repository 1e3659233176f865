"""What resilience costs a call: nanoseconds above the bare call, against the peers.

Every row does the same work: a function that returns at once, or fails at once and is tried three
times without a wait, where the bare call is a loop written by hand. Contenders take turns within a
round, each in short runs between runs of the bare call; a round's figure is the difference of the
best runs, and a row's the median over the rounds, as is the ratio to a peer. Time is that of the
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
_RUNS = 12
_RUN_NS = 400_000
_CALLS_MIN = 4
_OURS = "moreton"
Call = Callable[..., Any]
Times = dict[str, list[float]]  # of each contender, in each round


@dataclass(frozen=True, slots=True)
class Row:
    """The work without any library, and by each contender; those *aside* are shown, not judged."""

    bare: Call
    contenders: Mapping[str, Call]
    aside: frozenset[str] = frozenset()


class _NoWait(SystemTiming):
    waits = False


def run(*, quick: bool, console: Console) -> Result:
    """Measure every row in every round."""
    rounds = 5 if quick else 15
    rows = _rows()
    found = asyncio.run(_measure(rows, rounds, console))
    ours: dict[str, float] = {}
    result = Result("resilience", "ns a call", ours)
    for name, row in rows.items():
        _judge(result, ours, name, row, found[name])
    ours["MB for 100,000 breakers"] = _megabytes()
    result.checks[f"100,000 breakers <= {_MEGABYTES_MAX} MB"] = (
        ours["MB for 100,000 breakers"] <= _MEGABYTES_MAX
    )
    result.notes += [
        "circuitbreaker counts failures in a row: no window, no rate, no lock",
        "so it stands aside where a failed call is counted",
        "the five layers: total timeout, retry, breaker, bulkhead, timeout",
        "ours in the best round: "
        + "; ".join(f"{name} {min(times[_OURS]):,.0f}" for name, times in found.items()),
    ]
    return result


def _judge(result: Result, ours: dict[str, float], name: str, row: Row, found: Times) -> None:
    """Put what was *found* for one row into *result*."""
    figures = {contender: median(times) for contender, times in found.items()}
    ours[name] = figures.pop(_OURS)
    for peer, figure in figures.items():
        result.peers[peer] = {**result.peers.get(peer, {}), name: figure}
    for peer in row.aside:
        result.ratio[f"{peer}, {name} (aside)"] = _ratio(found, peer)
    judged = [peer for peer in figures if peer not in row.aside]
    if not judged:
        result.checks[f"{name} <= {_PIPELINE_NS_MAX} ns"] = min(found[_OURS]) <= _PIPELINE_NS_MAX
        return
    fastest = min(judged, key=lambda peer: figures[peer])
    ratio = result.ratio[f"{fastest}, {name}"] = _ratio(found, fastest)
    result.checks[f"{name}: {_WANTED:g} times less than {fastest}"] = ratio >= _WANTED


def _ratio(found: Times, peer: str) -> float:
    """How many times ours the overhead of *peer* is: what a round has in common cancels out."""
    return median([one / own for one, own in zip(found[peer], found[_OURS], strict=True)])


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


async def _measure(rows: Mapping[str, Row], rounds: int, console: Console) -> dict[str, Times]:
    """Nanoseconds a call above the bare function, of each contender in each round."""
    bare = {name: await _calls(row.bare) for name, row in rows.items()}
    calls = {
        (name, contender): await _calls(call)
        for name, row in rows.items()
        for contender, call in row.contenders.items()
    }
    found: dict[str, Times] = {
        name: {one: [] for one in row.contenders} for name, row in rows.items()
    }
    for number in range(1, rounds + 1):
        console.print(f"round {number} of {rounds}", highlight=False)
        for name, row in rows.items():
            for contender, call in row.contenders.items():
                above = await _above(call, calls[name, contender], row.bare, bare[name])
                found[name][contender].append(above)
    return found


async def _calls(call: Call) -> int:
    """How many calls make a run: long enough to be measured, and short enough to be undisturbed."""
    return max(_CALLS_MIN, round(_RUN_NS / await _run(call, 5 * _CALLS_MIN)))


async def _above(call: Call, calls: int, bare: Call, bare_calls: int) -> float:
    """The best of several runs of *call*, above the best of as many of *bare*, taken in turn."""
    pairs = [(await _run(bare, bare_calls), await _run(call, calls)) for _ in range(_RUNS)]
    return min(own for _, own in pairs) - min(base for base, _ in pairs)


async def _run(call: Call, calls: int) -> float:
    """Nanoseconds a call."""
    if inspect.iscoroutinefunction(call):
        start = time.thread_time_ns()
        for _ in range(calls):
            await call()
    else:
        start = time.thread_time_ns()
        for _ in range(calls):
            call()
    return (time.thread_time_ns() - start) / calls


def _megabytes() -> float:
    keys = [f"tenant-{number}" for number in range(_KEYS)]
    breakers = Breakers()
    tracemalloc.start()
    for key in keys:
        breakers[key](_good)()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return used / 1e6
