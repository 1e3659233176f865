"""Tests of shares that may be looked at as often as one likes.

Each function returns the logarithm of an e-process against a hypothesis: while the hypothesis is
true, it exceeds `log(1 / a)` *ever* with a probability of at most *a* (Ville's inequality). So
whoever looks after every request, and stops when he likes, is wrong no more often than that.

What is divided: how likely the data is when each unknown share is drawn from a beta distribution
(Robbins' mixture), by how likely it is under the best share that the hypothesis allows.

Sources: Robbins, "Statistical Methods Related to the Law of the Iterated Logarithm", 1970;
Wasserman, Ramdas and Balakrishnan, "Universal Inference", PNAS 2020, section 8; Ramdas,
Grünwald, Vovk and Shafer, "Game-Theoretic Statistics and Safe Anytime-Valid Inference", 2023.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# Jeffreys' prior; its mixture is at most a factor of sqrt(pi * n) below the best share.
_A = _B = 0.5
_STEPS_MAX = 60
_EDGE = 1e-12


@dataclass(frozen=True, slots=True)
class Counts:
    """*hits* of *total*."""

    hits: float
    total: float

    @property
    def share(self) -> float:
        """The observed share; 0 of nothing."""
        return self.hits / self.total if self.total else 0.0


def log_evidence_above(
    counts: Counts, bound: float, *, prior: tuple[float, float] = (_A, _B)
) -> float:
    """Against "the share is at most *bound*"."""
    best = min(counts.share, bound)
    return _log_mixture(counts, prior) - _log_likelihood(counts, best)


def log_evidence_below(
    counts: Counts, bound: float, *, prior: tuple[float, float] = (_A, _B)
) -> float:
    """Against "the share is at least *bound*"."""
    best = max(counts.share, bound) if counts.total else bound
    return _log_mixture(counts, prior) - _log_likelihood(counts, best)


def log_evidence_more(candidate: Counts, baseline: Counts, margin: float) -> float:
    """Against "the candidate's share is at most *margin* above the baseline's"."""
    allowed = candidate.share <= baseline.share + margin
    return _against(candidate, baseline, margin, allowed=allowed)


def log_evidence_less(candidate: Counts, baseline: Counts, margin: float) -> float:
    """Against "the candidate's share is at least *margin* above the baseline's"."""
    allowed = candidate.share >= baseline.share + margin
    return _against(candidate, baseline, margin, allowed=allowed)


def _against(candidate: Counts, baseline: Counts, margin: float, *, allowed: bool) -> float:
    mixed = _log_mixture(candidate, (_A, _B)) + _log_mixture(baseline, (_A, _B))
    if allowed:
        best = candidate.share, baseline.share
    else:  # then the best that the hypothesis allows lies on its border
        base = _best_on_border(candidate, baseline, margin)
        best = base + margin, base
    return mixed - _log_likelihood(candidate, best[0]) - _log_likelihood(baseline, best[1])


def _best_on_border(candidate: Counts, baseline: Counts, margin: float) -> float:
    """The baseline's share that fits best when the candidate's is *margin* above.

    By Newton's method, between bounds: the likelihood's logarithm is concave, so that its slope
    changes sign once at most. A step that leaves the bounds is one to their middle.
    """
    low, high = _EDGE, max(_EDGE, 1.0 - margin - _EDGE)
    total = candidate.total + baseline.total
    if not total:
        return low
    share = max((candidate.hits + baseline.hits) / total - margin, baseline.hits / total / 2)
    if not low < share < high:
        share = (low + high) / 2
    for _ in range(_STEPS_MAX):
        above, steeper = _slope(candidate, share + margin)
        below, steep = _slope(baseline, share)
        if above + below > 0:
            low = share
        else:
            high = share
        step = (above + below) / (steeper + steep)
        if abs(step) < _EDGE * share:
            break
        share = share + step if low < share + step < high else (low + high) / 2
    return share


def _slope(counts: Counts, share: float) -> tuple[float, float]:
    """Of the likelihood's logarithm at *share*, and how fast the slope falls there."""
    hits, misses = counts.hits / share, (counts.total - counts.hits) / (1.0 - share)
    return hits - misses, hits / share + misses / (1.0 - share)


def _log_likelihood(counts: Counts, share: float) -> float:
    hits, misses = counts.hits, counts.total - counts.hits
    return _times_log(hits, share) + _times_log(misses, 1.0 - share)


def _times_log(count: float, share: float) -> float:
    if count <= 0:
        return 0.0
    return count * math.log(share) if share > 0 else -math.inf


def _log_mixture(counts: Counts, prior: tuple[float, float]) -> float:
    a, b = prior
    return _log_beta(a + counts.hits, b + counts.total - counts.hits) - _log_beta(a, b)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
