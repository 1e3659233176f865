"""How long the checker takes: 10,000 operations on one key by 10 clients, right and wrong ones.

There is no peer: no other checker for Python is known. Ours are timed alone, and judged by verdicts
that are known from how the histories were made. Seconds are of the processor: what else runs on the
machine does not count.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.console import Console

from bench.report import Result, median
from moreton.kernel.rng import seeded_rng
from moreton.sim.linearizability import Call, CasRegister, check_history
from moreton.sim.linearizability.making import RegisterObject, Workload, draw_register, record

_OPERATIONS = 10_000
_CLIENTS = 10
_SECONDS_MAX = 10.0


@dataclass(frozen=True, slots=True)
class _Case:
    """*values* different ones are written, 0: each writes its own; *stale* reads are put in."""

    name: str
    values: int
    cas: bool = False
    unknown: float = 0.0
    stale: bool = False


_CASES = (
    _Case("reads, writes of 5 values", 5),
    _Case("reads, writes of their own values", 0),
    _Case("reads, writes, cas of 5 values", 5, cas=True),
    _Case("reads, writes, cas of their own values", 0, cas=True),
    _Case("the same, 1 % of unknown outcome", 0, cas=True, unknown=0.01),
    _Case("a stale read near the end", 0, stale=True),
)


def run(*, quick: bool, console: Console) -> Result:
    """Judge each case, the *quick* way only once."""
    ours: dict[str, float] = {}
    verdicts = []
    for case in _CASES:
        times = []
        for seed in range(1 if quick else 5):
            calls = _calls(case, seed)
            began = time.process_time()
            verdict = check_history(calls, CasRegister())
            times.append(time.process_time() - began)
            verdicts.append(verdict.is_linearizable is not case.stale)
        ours[f"{case.name}, s"] = round(median(times), 2)
        ours[f"{case.name}, worst s"] = round(max(times), 2)
        console.print(f"{case.name}: {median(times):.2f} s", highlight=False)
    slowest = max(ours.values())
    checks = {
        f"{_OPERATIONS:,} operations on one key by {_CLIENTS} clients in <= {_SECONDS_MAX:.0f} s": (
            slowest <= _SECONDS_MAX
        ),
        "every verdict is the one that is known": all(verdicts),
    }
    notes = [f"{_OPERATIONS / slowest:,.0f} operations/s in the slowest case"]
    return Result("linearizability", "CPU s", ours, {}, {}, checks, notes)


def _calls(case: _Case, seed: int) -> Sequence[Call]:
    draw = draw_register(case.values, cas=case.cas)
    workload = Workload(_OPERATIONS, _CLIENTS, draw, RegisterObject().do, case.unknown)
    calls = record(workload, seeded_rng(seed)).calls()
    return _with_stale_read(calls) if case.stale else calls


def _with_stale_read(calls: list[Call]) -> list[Call]:
    """*calls* whose last read saw the first write."""
    first = next(call for call in calls if call.op == "write")
    last = max(place for place, call in enumerate(calls) if call.op == "read")
    changed = replace(calls[last], result=first.argument)
    return [*calls[:last], changed, *calls[last + 1 :]]
