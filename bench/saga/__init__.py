"""Sagas of 0, 1, 3 and 10 steps, one after the other and 32 at once, against DBOS and Temporal.

Each contender is a process of its own over a database of its own, on the same disk with the same
durability: every step's outcome is synchronised before the next step begins. In a row they take
turns, in several rounds; the figure is the median of workflows a second. A step does nothing but
note when it began, so that what is left is the engine. DBOS runs as it comes, and on a file that
was set to WAL before; Temporal is its development server, on its own SQLite file.

Then 100,000 sagas that wait for a worker: how long after a restart the first step begins, and what
memory that takes.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from rich.console import Console

from bench.report import Result, median
from bench.saga.contenders import Contender, contenders
from bench.saga.recovery import measure_recovery

STEPS = (0, 1, 3, 10)
AT_ONCE = (1, 32)
ROUNDS = 3
RATIO_MIN = 3.0
STEP_MS_MAX = {"sqlite": 0.4, "postgresql": 0.8}


def run(*, quick: bool, console: Console) -> Result:
    """Every row on both databases, then the recovery."""
    result = Result("saga", "workflows/s", {})
    ours: dict[str, float] = {}
    result.ours = ours
    seconds = 0.12 if quick else 1.0
    with tempfile.TemporaryDirectory(prefix="moreton-bench-") as name:
        folder = Path(name)
        for database in ("sqlite", "postgresql"):
            with contenders(database, folder, quick=quick) as those:
                console.print(f"{database}: {', '.join(one.name for one in those)}")
                for one in those:  # so that none is measured while it, or another, still starts
                    one.measure(STEPS[1], AT_ONCE[0], seconds)
                _measure(result, ours, database, those, seconds=seconds, quick=quick)
        wait = median([_sync_ms(folder) for _ in range(9)])
        result.notes.append(f"one synchronised write takes this disk {wait:.2f} ms; a step has one")
        ours |= measure_recovery(folder, result.checks, quick=quick)
    return result


def _sync_ms(folder: Path) -> float:
    """What the disk takes to make 4 KiB durable."""
    began = time.perf_counter()
    with (folder / "sync").open("ab", buffering=0) as file:
        file.write(bytes(4096))
        os.fdatasync(file.fileno())
    return (time.perf_counter() - began) * 1000


def _measure(
    result: Result, ours: dict[str, float], database: str, those: list[Contender], *,
    seconds: float, quick: bool,
) -> None:  # fmt: skip
    gaps: list[float] = []
    for steps in STEPS:
        for at_once in AT_ONCE:
            row = f"{database}, {steps} steps, {at_once} at once"
            rates: dict[str, list[float]] = {one.name: [] for one in those}
            # Many at once are many that are measured: one turn does where time is short.
            for _ in range(1 if quick and at_once > 1 else ROUNDS):
                for one in those:
                    rate, gap = one.measure(steps, at_once, seconds)
                    rates[one.name].append(rate)
                    if one.name == "moreton" and steps == STEPS[-1] and at_once == 1:
                        gaps.append(gap)
            mine = median(rates.pop("moreton"))
            ours[row] = round(mine, 1)
            for peer, found in rates.items():
                theirs = median(found)
                result.peers.setdefault(peer, {})
                result.peers[peer] = {**result.peers[peer], row: round(theirs, 1)}
                ratio = mine / theirs
                result.ratio[f"{peer}, {row}"] = ratio
                if peer.startswith("dbos"):
                    check = f"{row}: >= {RATIO_MIN:g} times {peer}"
                    result.checks[check] = ratio >= RATIO_MIN
    most = STEP_MS_MAX[database]
    ours[f"{database}, a step, p50 ms"] = round(median(gaps), 3)
    result.checks[f"{database}: a step takes <= {most} ms, p50"] = median(gaps) <= most
