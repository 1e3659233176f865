"""Decisions of rate limits: in one process, between the processes of a machine, in Redis.

In process every row does the same work: may this key pass, by one limit or by five, with one key or
with many that take turns, where all may pass or where none may. Contenders take turns within a
round, each in short runs between runs of a bare call that only picks the key; a round's figure is
the difference of the best runs, a row's the median over the rounds. Time is that of the thread on
its processor. aiolimiter has no keys and never refuses: it gets a dictionary of limiters, and is
asked whether there is room where the others refuse.
"""

from __future__ import annotations

from rich.console import Console

from bench.ratelimit import local, memory, redis, shared
from bench.report import Result


def run(*, quick: bool, console: Console) -> Result:
    """Measure every place where limits are kept."""
    ours: dict[str, float] = {}
    result = Result("ratelimit", "ns a decision in process, decisions/s elsewhere", ours)
    local.measure(result, ours, quick=quick, console=console)
    memory.measure(result, ours)
    shared.measure(result, ours, quick=quick, console=console)
    redis.measure(result, ours, quick=quick, console=console)
    return result
