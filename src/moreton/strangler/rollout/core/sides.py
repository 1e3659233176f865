"""What was seen of both sides: requests, failures and times, of the same moments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple


class Bin(NamedTuple):
    """Times in [lower, lower + width), in milliseconds."""

    lower: float
    width: float


# How many answers took how long, by bin; bins do not overlap.
Times = Mapping[Bin, int]


@dataclass(frozen=True, slots=True)
class Side:
    """What one service answered; of the *errors*, those that were *silent* came too late (504)."""

    requests: int = 0
    errors: int = 0
    times: Times = field(default_factory=dict)
    silent: int = 0

    def __add__(self, more: Side) -> Side:
        return Side(
            self.requests + more.requests,
            self.errors + more.errors,
            _added(self.times, more.times.items()),
            self.silent + more.silent,
        )

    def since(self, before: Side) -> Side:
        """What came on top of *before*; all of it when the counting began anew meanwhile."""
        if before.requests > self.requests or before.errors > self.errors:
            return self
        fewer = ((each, -count) for each, count in before.times.items())
        times = _added(self.times, fewer)
        anew = any(count < 0 for count in times.values())
        kept = {each: count for each, count in (self.times if anew else times).items() if count}
        return Side(
            self.requests - before.requests,
            self.errors - before.errors,
            kept,
            max(0, self.silent - before.silent),
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """What a Prometheus query said: a *value*, or *why* there is none."""

    value: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen since the look before: of both sides, of comparisons, of metrics.

    A *trouble* says why nothing could be seen; the rest is then empty. *uncompared* says why
    nothing is compared now, if something is in the way.
    """

    baseline: Side = field(default_factory=Side)
    candidate: Side = field(default_factory=Side)
    compared: int = 0
    different: int = 0
    undecided: int = 0  # of those compared: they differ, and nobody knows yet whether that is noise
    uncompared: str = ""
    readings: Mapping[str, Reading] = field(default_factory=dict)
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything seen since a stage began."""

    baseline: Side = field(default_factory=Side)
    candidate: Side = field(default_factory=Side)
    compared: int = 0
    different: int = 0
    undecided: int = 0
    uncompared: str = ""
    readings: Mapping[str, Reading] = field(default_factory=dict)
    outside: Mapping[str, int] = field(default_factory=dict)  # how often in a row, by metric
    trouble: str = ""

    def plus(self, look: Look, outside: Iterable[str]) -> Evidence:
        """With *look*, whose metrics in *outside* are not where they should be."""
        if look.trouble:
            return replace(self, trouble=look.trouble)
        wrong = set(outside)
        counted = {
            name: self.outside.get(name, 0) + 1 if name in wrong else 0
            for name, reading in look.readings.items()
            if reading.value is not None
        }
        return Evidence(
            self.baseline + look.baseline,
            self.candidate + look.candidate,
            self.compared + look.compared,
            self.different + look.different,
            self.undecided + look.undecided,
            look.uncompared,
            {**self.readings, **look.readings},
            {**self.outside, **counted},
        )


def _added(times: Times, more: Iterable[tuple[Bin, int]]) -> dict[Bin, int]:
    found = dict(times)
    for each, count in more:
        found[each] = found.get(each, 0) + count
    return found
