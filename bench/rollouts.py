"""Who is promoted, who is taken back, and how soon: migrations in virtual time, by the hundred.

The machine and its gates are the real ones; the worlds are `moreton.sim.rollouts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from rich.console import Console
from rich.progress import Progress

from bench.report import Result, median
from moreton.sim.rollouts import Ending, Storm, Truth, World, migrate
from moreton.strangler.rollout.core.plan import ErrorGate, LatencyGate, Plan, Stage
from moreton.strangler.rollout.core.progress import Phase

_HOLD = timedelta(seconds=30)
_STAGES = tuple(Stage(f"{share:.0%}", share, _HOLD) for share in (0.1, 0.5, 1.0))
_PLAN = Plan("m", "route", "old", "new", _STAGES, (ErrorGate(), LatencyGate()))
_WORLDS: Mapping[str, World] = {
    "equal": World(),
    "equal_in_a_storm": World(storm=Storm(20.0, 60.0, 0.3)),
    "more_errors": World(candidate=Truth(errors=0.022)),
    "slower": World(candidate=Truth(median=24.0)),
    # As little traffic as the promise on time is made for.
    "broken": World(candidate=Truth(errors=1.0), rate=50.0, every=0.5),
    "breaking": World(rate=50.0, every=0.5, breaks=120.0),
}


def run(*, quick: bool, console: Console) -> Result:
    """A hundred migrations in each world; ten when *quick*."""
    runs = 10 if quick else 100
    found: dict[str, Sequence[Ending]] = {}
    with Progress(console=console) as progress:
        for name, world in _WORLDS.items():
            seeds = progress.track(range(runs), description=name)
            found[name] = [migrate(_PLAN, world, seed=seed) for seed in seeds]
    ours: dict[str, float] = {"runs": runs}
    for name, each in found.items():
        ours[f"{name}_promoted"] = _share(each, Phase.DONE)
        ours[f"{name}_taken_back"] = _share(each, Phase.ROLLED_BACK)
        ours[f"{name}_decided_s"] = median([ending.seconds for ending in each])
    for name in ("broken", "breaking"):
        slowest = max(ending.seconds_since_failure for ending in found[name])
        ours[f"{name}_taken_back_within_s"] = slowest
    checks = {
        "an equal candidate is promoted, 95 of 100": ours["equal_promoted"] >= 95,
        "also when both sides fail for a while": ours["equal_in_a_storm_promoted"] >= 95,
        "one with 2 % more errors is promoted, 1 of 100 at most": ours["more_errors_promoted"] <= 1,
        "one 20 % slower at p95 is taken back, 99 of 100": ours["slower_taken_back"] >= 99,
        "a broken one is taken back within 3 s of its first failure": ours[
            "broken_taken_back_within_s"
        ]
        <= 3.0,
        "also one that breaks after two good minutes": ours["breaking_taken_back_within_s"] <= 3.0,
    }
    return Result("rollouts", "% of migrations", ours, checks=checks)


def _share(found: Sequence[Ending], phase: Phase) -> float:
    return 100 * sum(each.phase is phase for each in found) / len(found)
