"""Migrations in virtual time: how often a good candidate gets through, and how soon a bad one not.

Requests come at a steady rate; each goes to the candidate with the chance that the stage says,
fails with its side's chance, and takes a time from its side's log-normal distribution. The machine
is the real one, with the gates that `moreton.yaml` would give it.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random

from moreton.kernel.rng import seeded_rng
from moreton.kernel.time import Instant
from moreton.strangler.rollout.core.machine import Migration
from moreton.strangler.rollout.core.plan import Plan
from moreton.strangler.rollout.core.progress import Looked, Order, Ordered, Phase, Progress
from moreton.strangler.rollout.core.sides import Bin, Look, Side

_TIMES_MAX = 2000  # milliseconds


@dataclass(frozen=True, slots=True)
class Truth:
    """How a side really is: its share of *errors*, and its times in milliseconds.

    Without a *spread* all take the median.
    """

    errors: float = 0.002
    median: float = 20.0
    spread: float = 0.5  # of the times' logarithm

    def cumulative(self) -> list[float]:
        """The chance that an answer takes less than 1, 2, … milliseconds."""
        if not self.spread:
            return [float(ms > self.median) for ms in range(1, _TIMES_MAX)]
        return [
            0.5 * math.erfc(-(math.log(ms) - math.log(self.median)) / (self.spread * math.sqrt(2)))
            for ms in range(1, _TIMES_MAX)
        ]


@dataclass(frozen=True, slots=True)
class Storm:
    """From *begin* to *end*, in seconds, this share of all requests fails on both sides."""

    begin: float
    end: float
    errors: float


@dataclass(frozen=True, slots=True)
class World:
    """*rate* requests a second, looked at *every* so many seconds."""

    baseline: Truth = Truth()
    candidate: Truth = Truth()
    rate: float = 200.0
    every: float = 1.0
    storm: Storm | None = None
    breaks: float = math.inf  # from this second on every answer of the candidate fails


@dataclass(frozen=True, slots=True)
class Ending:
    """How a migration ended, when, and how many requests the candidate failed until then."""

    phase: Phase
    seconds: float
    stage: str
    reason: str
    failed: int
    seconds_since_failure: float  # since the candidate failed first, or broke


class _Dice:
    """Draws what a side answers."""

    def __init__(self, truth: Truth, rng: Random) -> None:
        self._errors = truth.errors
        self._only = None if truth.spread else Bin(int(truth.median), 1)
        self._weights = truth.cumulative()
        self._bins = [Bin(ms, 1) for ms in range(len(self._weights))]
        self._rng = rng

    def draw(self, requests: int, storm: float) -> Side:
        """*requests* answers, while a *storm* fails so many of them."""
        chance = 1.0 - (1.0 - self._errors) * (1.0 - storm)
        errors = hits(self._rng, requests, chance)
        if self._only is not None:
            return Side(requests, errors, {self._only: requests})
        times = Counter(self._rng.choices(self._bins, cum_weights=self._weights, k=requests))
        return Side(requests, errors, times)


def migrate(plan: Plan, world: World, *, seed: int, seconds_max: float = 7200.0) -> Ending:
    """The ending of one migration; one that is under way after *seconds_max* is running."""
    rng = seeded_rng(seed)
    dice = _Dice(world.baseline, rng), _Dice(world.candidate, rng)
    machine, now = Migration(plan, Progress()), Instant(0)
    machine.handle(Ordered(Order.START), now)
    failed, first_failure, carried = 0, math.inf, 0.0
    for step in itertools.count(1):
        seconds = step * world.every
        now = Instant(0) + timedelta(seconds=seconds)
        carried += world.rate * world.every
        requests, carried = int(carried), carried % 1
        moved = hits(rng, requests, machine.share)
        storm = _errors_at(world.storm, seconds)
        look = Look(dice[0].draw(requests - moved, storm), dice[1].draw(moved, storm))
        if seconds > world.breaks:
            look = replace(look, candidate=replace(look.candidate, errors=moved))
        begun = math.isinf(world.breaks) or seconds > world.breaks
        if look.candidate.errors and begun:
            first_failure = min(first_failure, seconds - world.every)
        failed += look.candidate.errors
        machine.handle(Looked(look), now)
        progress = machine.progress
        if progress.phase is not Phase.RUNNING or seconds >= seconds_max:
            since = 0.0 if math.isinf(first_failure) else seconds - first_failure
            name = machine.stage.name
            return Ending(progress.phase, seconds, name, progress.reason, failed, since)
    raise AssertionError("counting ended")


def endings(plan: Plan, world: World, runs: int, *, first_seed: int = 0) -> Sequence[Ending]:
    """The endings of *runs* migrations, each of a seed of its own."""
    return [migrate(plan, world, seed=first_seed + number) for number in range(runs)]


def hits(rng: Random, total: int, chance: float) -> int:
    """How many of *total* happen, each with *chance*: from one to the next, as misses are many."""
    if chance <= 0.0:
        return 0
    if chance > 0.5:
        return total - hits(rng, total, 1.0 - chance)
    found, place, slope = 0, 0, math.log1p(-chance)
    while True:
        place += int(math.log(1.0 - rng.random()) / slope) + 1
        if place > total:
            return found
        found += 1


def _errors_at(storm: Storm | None, seconds: float) -> float:
    return storm.errors if storm is not None and storm.begin <= seconds < storm.end else 0.0
