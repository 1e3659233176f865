"""Who is promoted, who is taken back, and how soon: migrations in virtual time, by the hundred.

The machine and its gates are the real ones; the worlds are `moreton.sim.rollouts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from rich.console import Console
from rich.progress import Progress

from bench.lines import line_chart
from bench.report import Result, median
from moreton.sim.rollouts import Ending, Storm, Truth, World, migrate
from moreton.strangler.rollout.core.plan import ErrorGate, LatencyGate, Plan, Stage
from moreton.strangler.rollout.core.progress import Phase

_HOLD = timedelta(seconds=30)
_STAGES = tuple(Stage(f"{share:.0%}", share, _HOLD) for share in (0.1, 0.5, 1.0))
_PLAN = Plan("m", "route", "old", "new", _STAGES, (ErrorGate(), LatencyGate()))
_MINUTES = tuple(range(31))
_SECONDS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
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
        ours[f"{name}_promoted"] = _share(each, Phase.DONE, runs)
        ours[f"{name}_taken_back"] = _share(each, Phase.ROLLED_BACK, runs)
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
    plots = {"rollouts-decided": _decided(found), "rollouts-back": _back(found)}
    return Result("rollouts", "% of migrations", ours, checks=checks, plots=plots)


def _decided(found: Mapping[str, Sequence[Ending]]) -> str:
    """How many migrations had ended as they should, by the minute."""
    wanted = {
        "equal: promoted": ("equal", Phase.DONE),
        "both fail: promoted": ("equal_in_a_storm", Phase.DONE),
        "2% more errors: back": ("more_errors", Phase.ROLLED_BACK),
        "20% slower: back": ("slower", Phase.ROLLED_BACK),
    }
    lines = {
        label: [_share_by(found[world], phase, minute * 60) for minute in _MINUTES]
        for label, (world, phase) in wanted.items()
    }
    return line_chart(
        _MINUTES,
        lines,
        title="migrations that ended as they should, by the time since their start",
        labels=("minutes", "% of migrations"),
        ticks=(0, 25, 50, 75, 100),
        scale=float,
    )


def _back(found: Mapping[str, Sequence[Ending]]) -> str:
    """How many migrations of broken candidates were taken back, by the time since it broke."""
    wanted = {"broken at first": found["broken"], "breaks later": found["breaking"]}
    lines = {
        label: [
            100 * sum(each.seconds_since_failure <= second for each in ends) / len(ends)
            for second in _SECONDS
        ]
        for label, ends in wanted.items()
    }
    return line_chart(
        _SECONDS,
        lines,
        title="broken candidates taken back, by the time since the first failure",
        labels=("seconds", "% of migrations"),
        ticks=(0, 25, 50, 75, 100),
        scale=float,
    )


def _share_by(found: Sequence[Ending], phase: Phase, seconds: float) -> float:
    return _share([each for each in found if each.seconds <= seconds], phase, len(found))


def _share(found: Sequence[Ending], phase: Phase, total: int) -> float:
    return 100 * sum(each.phase is phase for each in found) / total
