"""Messages of ring elections against the literature's counts, and 10,000 nodes in a minute.

The peer is the theory: there is no other implementation to measure, only one to be right by.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping

from rich.console import Console

from bench.report import Result, median
from moreton.cli.ring.chart import terminal_chart
from moreton.cli.ring.measuring import CASES, Case, Order, Point, measure
from moreton.election.ring import (
    Algorithm,
    Decision,
    RingProcesses,
    StoreClaims,
    Uid,
    elect,
)
from moreton.election.ring.core.theory import hirschberg_sinclair_bound
from moreton.kernel.rng import seeded_rng
from moreton.store import open_store

_SECONDS_MAX = 60
_AVERAGE_WITHIN = 0.02
_LARGE = 10_000
_SMALL_RINGS = range(1, 8)
_PROCESSES = 7


def run(*, quick: bool, console: Console) -> Result:
    """Count, draw, then time the large rings and a ring of processes that loses its leader."""
    curves = {case: _curve(case, quick=quick, console=console) for case in CASES}
    console.print(terminal_chart(curves, width=console.width))
    seconds = {name: _time_large(name, console) for name in _ring_algorithms()}
    processes = asyncio.run(_failovers(rounds=1 if quick else 5, console=console))
    ours: dict[str, float] = {}
    theory: dict[str, float] = {}
    for case, points in curves.items():
        label = f"{case.name}, n = {points[-1].nodes}"
        ours[label] = round(points[-1].measured, 1)
        theory[label] = round(points[-1].expected, 1)
    for name, taken in seconds.items():
        ours[f"{name}, n = {_LARGE}, s"] = round(taken, 2)
    ours |= processes
    checks = _checks(curves)
    checks[f"{_LARGE:,} nodes in <= {_SECONDS_MAX} s, each"] = max(seconds.values()) <= _SECONDS_MAX
    notes = [f"{case.name}: {_ratios(points)}" for case, points in curves.items()]
    return Result("election", "messages", ours, {"theory": theory}, {}, checks, notes)


def _ring_algorithms() -> list[Algorithm]:
    return [each for each in Algorithm if each is not Algorithm.BULLY]


def _curve(case: Case, *, quick: bool, console: Console) -> list[Point]:
    console.print(f"counting {case.name}", highlight=False)
    most = min(1024 if quick else 4096, case.nodes_max)
    sizes = [1 << power for power in range(1, most.bit_length())]
    return [measure(case, nodes, rounds=_rounds(case, nodes, quick=quick)) for nodes in sizes]


def _rounds(case: Case, nodes: int, *, quick: bool) -> int:
    if case.is_bound:
        return 10
    # One order's count differs from the mean by 1/H_n of it: so many bring that below 1 %.
    large, small = (200, 800) if quick else (400, 3000)
    return large if nodes > 256 else small


def _checks(curves: Mapping[Case, list[Point]]) -> dict[str, bool]:
    by_name = {case.name: points for case, points in curves.items()}
    exact = ("LCR, worst", "LCR, best", "Chang-Roberts, one begins", "bully, smallest begins")
    checks = {
        f"{name}: exactly as in theory": all(p.measured == p.expected for p in by_name[name])
        for name in exact
    }
    checks["LCR, average: within 2 % of n*H_n + n"] = all(
        abs(point.ratio - 1) <= _AVERAGE_WITHIN for point in by_name["LCR, average"]
    )
    checks["LCR, average over all orders of up to 7: exactly n*H_n + n"] = _all_orders_agree()
    checks["Hirschberg-Sinclair: largest <= 8n(1 + ceil(log2 n)) + n"] = all(
        point.largest <= hirschberg_sinclair_bound(point.nodes)
        for point in by_name["Hirschberg-Sinclair"]
    )
    return checks


def _all_orders_agree() -> bool:
    case = next(each for each in CASES if each.order is Order.SHUFFLED)
    for nodes in _SMALL_RINGS:
        # Rings that differ by a turn are the same ring: the largest stands first.
        rest = [Uid(number) for number in range(nodes - 1)]
        counts = [
            elect([Uid(nodes), *order], Algorithm.LCR).messages
            for order in itertools.permutations(rest)
        ]
        if abs(sum(counts) / len(counts) - case.expected(nodes)) > 1e-9 * nodes:
            return False
    return True


def _time_large(algorithm: Algorithm, console: Console) -> float:
    uids = [Uid(number) for number in range(_LARGE)]
    seeded_rng(1).shuffle(uids)
    began = time.perf_counter()
    outcome = elect(uids, algorithm)
    taken = time.perf_counter() - began
    if not outcome.agreed or outcome.leader != max(uids) or outcome.halted != _LARGE:
        raise RuntimeError(f"{algorithm} of {_LARGE} nodes came to {outcome}")
    console.print(f"{algorithm}, {_LARGE:,} nodes: {taken:.2f} s", highlight=False)
    return taken


def _ratios(points: list[Point]) -> str:
    return ", ".join(f"{point.nodes}: {point.ratio:.3f}" for point in points)


async def _failovers(*, rounds: int, console: Console) -> dict[str, float]:
    """Real processes: from `begin` to agreement, and from the leader's SIGKILL to the next."""
    elected, replaced = [], []
    for number in range(rounds):
        console.print(f"processes, round {number + 1} of {rounds}", highlight=False)
        store = open_store("memory:")
        uids = [Uid(n) for n in range(1, _PROCESSES + 1)]
        seeded_rng(number).shuffle(uids)
        async with RingProcesses("bench", uids, claims=StoreClaims(store, "bench")) as ring:
            taken, first = await _agreement(ring)
            elected.append(taken)
            await ring.kill(first.leader)
            taken, second = await _agreement(ring)
            replaced.append(taken)
        await store.close()
        if (second.token or 0) <= (first.token or 0):
            raise RuntimeError(f"{second} does not fence off {first}")
    return {
        f"{_PROCESSES} processes elect, ms": round(median(elected) * 1000, 1),
        f"{_PROCESSES} processes replace a killed leader, ms": round(median(replaced) * 1000, 1),
    }


async def _agreement(ring: RingProcesses) -> tuple[float, Decision]:
    began = time.perf_counter()
    decision = await ring.wait_agreed()
    return time.perf_counter() - began, decision
