"""Decisions in one process: ours and the peers, in turns."""

from __future__ import annotations

import asyncio
import gc
import inspect
import itertools
import time

from rich.console import Console

from bench.ratelimit.contenders import CONTENDERS, OURS, Ask, answer
from bench.report import Result, median

_WANTED = 3.0
_KEYS = 100_000
_KEYS_QUICK = 20_000
_RUNS = 12
_RUN_NS = 400_000
_CALLS_MIN = 4
Times = dict[str, list[float]]  # of each contender, in each round


def measure(result: Result, ours: dict[str, float], *, quick: bool, console: Console) -> None:
    """Put every row into *result*."""
    many = _KEYS_QUICK if quick else _KEYS
    rounds = 4 if quick else 15
    for keys, limits, deny in itertools.product((1, many), (1, 5), (False, True)):
        name = (
            f"{'deny' if deny else 'allow'}, {keys:,} key{'s' * (keys > 1)}, "
            f"{limits} limit{'s' * (limits > 1)}"
        )
        console.print(name, highlight=False)
        found = asyncio.run(_row([f"tenant-{n}" for n in range(keys)], limits, deny, rounds))
        _judge(result, ours, name, found)
        gc.collect()


def _judge(result: Result, ours: dict[str, float], name: str, found: Times) -> None:
    figures = {contender: median(times) for contender, times in found.items()}
    ours[name] = figures.pop(OURS)
    for peer, figure in figures.items():
        result.peers[peer] = {**result.peers.get(peer, {}), name: figure}
    fastest = min(figures, key=lambda peer: figures[peer])
    # What a round has in common cancels out.
    ratios = [one / own for one, own in zip(found[fastest], found[OURS], strict=True)]
    ratio = result.ratio[f"{fastest}, {name}"] = median(ratios)
    result.checks[f"{name}: {_WANTED:g} times less than {fastest}"] = ratio >= _WANTED


async def _row(keys: list[str], limits: int, deny: bool, rounds: int) -> Times:  # noqa: FBT001
    """Nanoseconds a decision above the choice of a key, of each contender in each round."""
    asks = {name: make(keys, limits, deny) for name, make in CONTENDERS.items()}
    for name, ask in asks.items():
        assert bool(await answer(ask)) is not deny or name == "aiolimiter", name
    following = itertools.cycle(keys).__next__

    def bare() -> str:
        return following()

    calls = {name: await _calls(ask) for name, ask in asks.items()}
    bare_calls = await _calls(bare)
    found: Times = {name: [] for name in asks}
    for _ in range(rounds):
        for name, ask in asks.items():
            found[name].append(await _above(ask, calls[name], bare, bare_calls))
    return found


async def _calls(ask: Ask) -> int:
    """How many calls make a run: long enough to be measured, and short enough to be undisturbed."""
    return max(_CALLS_MIN, round(_RUN_NS / await _run(ask, 5 * _CALLS_MIN)))


async def _above(ask: Ask, calls: int, bare: Ask, bare_calls: int) -> float:
    """The best of several runs of *ask*, above the best of as many of *bare*, taken in turn."""
    pairs = [(await _run(bare, bare_calls), await _run(ask, calls)) for _ in range(_RUNS)]
    return max(1.0, min(own for _, own in pairs) - min(base for base, _ in pairs))


async def _run(ask: Ask, calls: int) -> float:
    """Nanoseconds a call."""
    if inspect.iscoroutinefunction(ask):
        start = time.thread_time_ns()
        for _ in range(calls):
            await ask()
    else:
        start = time.thread_time_ns()
        for _ in range(calls):
            ask()
    return (time.thread_time_ns() - start) / calls
