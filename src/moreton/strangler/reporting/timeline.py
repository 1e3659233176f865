"""Where moments are in a picture: time from left to right, without that in which nobody looked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

from moreton.strangler.rollout.core.samples import Sample

_GAP_PIXELS = 18.0
# Shorter silence is that of a control plane that was started anew.
_GAP_SECONDS, _GAP_PART = 5.0, 0.02
_TICKS_EVERY = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600,
                43_200, 86_400, 172_800, 604_800)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Run:
    """Samples without a gap, and from where to where they are drawn."""

    samples: Sequence[Sample]
    left: float
    right: float

    @property
    def since(self) -> float:
        """When it begins."""
        return self.samples[0].since

    @property
    def until(self) -> float:
        """When it ends."""
        return max(self.since + 1e-3, self.samples[-1].until)

    def place(self, when: float) -> float:
        """Where *when* is, within the run."""
        part = (when - self.since) / (self.until - self.since)
        return self.left + (self.right - self.left) * min(1.0, max(0.0, part))


class Timeline:
    """Where the moments of *samples* are between *left* and *right*."""

    def __init__(self, samples: Sequence[Sample], left: float, right: float) -> None:
        parts = _parts(samples)
        self.seconds = sum(each[-1].until - each[0].since for each in parts) or 1.0
        room = right - left - _GAP_PIXELS * (len(parts) - 1)
        self.pixels_per_second = max(room, 1.0) / self.seconds
        self.runs: list[Run] = []
        for part in parts:
            width = (part[-1].until - part[0].since) * self.pixels_per_second
            self.runs.append(Run(part, left, left + width))
            left += width + _GAP_PIXELS

    def place(self, when: float) -> float:
        """Where *when* is; what lies in a gap is where the gap begins."""
        before = [run for run in self.runs if run.since <= when]
        run = before[-1] if before else self.runs[0]
        return run.place(when)

    def bands(self) -> Iterator[tuple[Sample, float, float]]:
        """Each stage that was gone through: one of its samples, from where to where it is."""
        for run in self.runs:
            for _, group in groupby(run.samples, key=lambda each: each.place):
                of_stage = list(group)
                yield of_stage[0], run.place(of_stage[0].since), run.place(of_stage[-1].until)

    def columns(self, *, pixels: float, seconds: float) -> Iterator[list[Sample]]:
        """The samples of each run, put together until they are so wide, and so long."""
        least = max(seconds, pixels / self.pixels_per_second)
        for run in self.runs:
            columns: list[Sample] = []
            for sample in run.samples:
                if columns and columns[-1].seconds < least and columns[-1].place == sample.place:
                    columns[-1] = columns[-1].joined(sample)
                else:
                    columns.append(sample)
            yield columns

    def ticks(self, *, pixels: float) -> Iterator[tuple[float, str]]:
        """Where to write which time, no two closer than *pixels*."""
        wanted = pixels / self.pixels_per_second
        every = next((each for each in _TICKS_EVERY if each >= wanted), _TICKS_EVERY[-1])
        last = -pixels
        for run in self.runs:
            when = -(-run.since // every) * every
            while when <= run.until:
                place = run.place(when)
                if place - last >= pixels:
                    yield place, _clock(when, every)
                    last = place
                when += every


def _parts(samples: Sequence[Sample]) -> list[list[Sample]]:
    watched = sum(each.seconds for each in samples)
    longest = max(_GAP_SECONDS, _GAP_PART * watched)
    parts: list[list[Sample]] = []
    for sample in samples:
        gap = sample.since - parts[-1][-1].until if parts else longest + 1
        if -_GAP_SECONDS <= gap <= longest:
            parts[-1].append(sample)
        else:
            parts.append([sample])
    return parts


def _clock(when: float, every: int) -> str:
    shown = datetime.fromtimestamp(when, UTC)
    if every >= 86_400:
        return f"{shown:%b} {shown.day}"
    return f"{shown:%H:%M:%S}" if every < 60 else f"{shown:%H:%M}"
