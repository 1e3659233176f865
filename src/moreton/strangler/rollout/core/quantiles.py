"""Tests of quantiles of times, of two sides, that may be looked at as often as one likes.

For a time x, how many answers were faster is a share, and a share can be tested (`proportions`).
"The candidate's quantile is at most f times the baseline's" says of the baseline's true quantile
x that a share of at least p of the candidate's answers is within f * x. Nobody knows x: so the
evidence has to hold for every x, and a time counts as ruled out as far as the baseline's own
answers rule it out. The product of the two is an e-process for the true x, so the least of them
is below one; no correction for the number of x is due.

Nothing is supposed of how times are distributed, but that within one of Envoy's bins (a tenth
of the time wide, or one millisecond) they are spread evenly.

Source: Howard and Ramdas, "Sequential Estimation of Quantiles with Applications to A/B Testing
and Best-Arm Identification", Bernoulli 28, 2022.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable
from itertools import accumulate

from moreton.strangler.rollout.core.proportions import (
    Counts,
    log_evidence_above,
    log_evidence_below,
)
from moreton.strangler.rollout.core.sides import Times

# How many answers the prior is worth: sharpest for shares that some hundred answers can tell.
_PRIOR_WEIGHT = 50.0


class Spread:
    """How many of *times* are below a time, and the quantiles."""

    def __init__(self, times: Times) -> None:
        self._bins = sorted((each, count) for each, count in times.items() if count > 0)
        self._lowers = [each.lower for each, _ in self._bins]
        self._before = [0, *accumulate(count for _, count in self._bins)]

    @property
    def total(self) -> int:
        """How many there are."""
        return self._before[-1]

    def below(self, time: float) -> float:
        """How many are below *time*."""
        index = bisect_right(self._lowers, time) - 1
        if index < 0:
            return 0.0
        (lower, width), count = self._bins[index]
        within = 1.0 if width <= 0 else min(1.0, (time - lower) / width)
        return self._before[index] + count * within

    def quantile(self, share: float) -> float:
        """The time below which *share* of them are; 0 of nothing."""
        wanted = share * self.total
        for index, ((lower, width), count) in enumerate(self._bins):
            if self._before[index + 1] >= wanted:
                return lower + width * (wanted - self._before[index]) / count
        return 0.0

    def edges(self) -> Iterable[float]:
        """Where bins begin and end."""
        for (lower, width), _ in self._bins:
            yield lower
            yield lower + width


def log_evidence_slower(
    candidate: Spread, baseline: Spread, share: float, factor: float, *, bar: float = -math.inf
) -> float:
    """Against "the candidate's quantile at *share* is at most *factor* times the baseline's".

    What is below *bar* is not looked for exactly: any value below it may be returned.
    """
    prior = _PRIOR_WEIGHT * share, _PRIOR_WEIGHT * (1.0 - share)

    def evidence(time: float) -> float:
        base = Counts(baseline.below(time), baseline.total)
        new = Counts(candidate.below(factor * time), candidate.total)
        ruled_out = log_evidence_above(base, share, prior=prior)
        return ruled_out + log_evidence_below(new, share, prior=prior)

    return _least(evidence, _grid(candidate, baseline, share, factor), bar)


def log_evidence_faster(
    candidate: Spread, baseline: Spread, share: float, factor: float, *, bar: float = -math.inf
) -> float:
    """Against "the candidate's quantile at *share* is at least *factor* times the baseline's".

    *bar* as above.
    """
    prior = _PRIOR_WEIGHT * share, _PRIOR_WEIGHT * (1.0 - share)

    def evidence(time: float) -> float:
        base = Counts(baseline.below(time), baseline.total)
        new = Counts(candidate.below(factor * time), candidate.total)
        ruled_out = log_evidence_below(base, share, prior=prior)
        return ruled_out + log_evidence_above(new, share, prior=prior)

    return _least(evidence, _grid(candidate, baseline, share, factor), bar)


def _least(evidence: Callable[[float], float], grid: Iterable[float], bar: float) -> float:
    least = math.inf
    for time in grid:
        least = min(least, evidence(time))
        if least < bar:
            break
    return least


def _grid(candidate: Spread, baseline: Spread, share: float, factor: float) -> list[float]:
    """The times to look at; first those where the evidence is least likely to hold."""
    middle = baseline.quantile(share)
    times = {*baseline.edges(), *(edge / factor for edge in candidate.edges())}
    return sorted(times, key=lambda time: abs(time - middle))
