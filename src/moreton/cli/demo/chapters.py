"""What users saw between two decisions, and what of it the story explains."""

from __future__ import annotations

from dataclasses import dataclass, field

from moreton.testing.load import LoadReport, Sample

OLD, NEW = "shop", "catalogue"
_FAULT = "500"


@dataclass(slots=True)
class Chapter:
    """One decision, and what the users saw until the next."""

    title: str
    decided: float  # seconds of `time.perf_counter`
    share: float | None = None  # which share the new service gets from here on, if that changed
    before: float = 0.0  # which it had
    samples: list[Sample] = field(default_factory=list)
    _counted: LoadReport = field(default_factory=LoadReport)

    @property
    def report(self) -> LoadReport:
        """All of it, counted."""
        if self._counted.requests != len(self.samples):
            self._counted = LoadReport()
            for sample in self.samples:
                self._counted.add(sample)
        return self._counted

    @property
    def part(self) -> float:
        """Which part of the answers the new service gave."""
        return self.report.labels[NEW] / max(1, self.report.requests)

    @property
    def sent_part(self) -> float:
        """As `part`, of what was asked since the decision: some answers are of before."""
        labels = [each.label for each in self.samples if each.sent >= self.decided]
        return labels.count(NEW) / max(1, len(labels))

    @property
    def moved_ms(self) -> float | None:
        """From the decision to the first answer of the new service, when it gets more than before.

        When it gets nothing any more: to the last request that went to it.
        """
        if self.share is None:
            return None
        new = [each for each in self.samples if each.label == NEW]
        if self.share > self.before:
            return min(((answered(each) - self.decided) * 1000 for each in new), default=None)
        last = max((each.sent for each in new), default=self.decided)
        return max(0.0, (last - self.decided) * 1000)


@dataclass(frozen=True, slots=True)
class Span:
    """From *begin* to *end*, in seconds of `time.perf_counter`."""

    begin: float
    end: float

    def has(self, moment: float) -> bool:
        """Whether *moment* lies in it."""
        return self.begin <= moment <= self.end


@dataclass(frozen=True, slots=True)
class Failures:
    """All requests that failed: by the new service's *fault*, as it was *killed*, and *others*."""

    fault: list[Sample]
    killed: list[Sample]
    others: list[Sample]


def failures(samples: list[Sample], fault: Span, kill: Span) -> Failures:
    """Those of *samples*, by what the story did from when to when."""
    found = Failures([], [], [])
    for sample in samples:
        if sample.outcome.startswith(("2", "3")):
            continue
        if sample.label == NEW and sample.outcome == _FAULT and fault.has(answered(sample)):
            found.fault.append(sample)
        elif kill.has(answered(sample)):
            found.killed.append(sample)
        else:
            found.others.append(sample)
    return found


def taken_back_seconds(samples: list[Sample], fault: Span) -> float | None:
    """From the first bad answer during *fault* to the last request that the new service got."""
    new = [each for each in samples if each.label == NEW and fault.has(answered(each))]
    bad = [answered(each) for each in new if each.outcome == _FAULT]
    return max(each.sent for each in new) - min(bad) if bad else None


def answered(sample: Sample) -> float:
    """When its answer came."""
    return sample.due + sample.seconds
