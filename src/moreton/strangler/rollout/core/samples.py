"""What was seen while a migration went on, in so many samples however long it takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from moreton.strangler.rollout.core.sides import Bin, Look, Side, Times

# Of all tries together; about as many as a picture has room for.
SAMPLES_MAX = 240
# A sample is a second long at first, so that short migrations have a picture as well.
_SECONDS_LEAST, _SECONDS_MOST, _SECONDS_PART = 1.0, 10.0, 0.01
# Times are kept in bins a tenth of the time wide, of which a sample has some twenty.
_BINS_PER_DECADE = 24
_TROUBLE_CHARS_MAX = 200


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen in the *seconds* from *since* on, by the wall clock, in one stage of one try.

    *trouble* says why nothing could be seen in a part of it.
    """

    since: float
    seconds: float
    tries: int
    stage: int
    share: float
    baseline: Side = field(default_factory=Side)
    candidate: Side = field(default_factory=Side)
    compared: int = 0
    different: int = 0
    trouble: str = ""

    @property
    def until(self) -> float:
        """When it ended."""
        return self.since + self.seconds

    @property
    def place(self) -> tuple[int, int, float]:
        """What samples that are put together have in common."""
        return self.tries, self.stage, self.share

    def plus(self, look: Look, seconds: float) -> Sample:
        """With a *look* that was had so many *seconds* later."""
        return Sample(
            self.since,
            self.seconds + seconds,
            *self.place,
            self.baseline + _coarse(look.baseline),
            self.candidate + _coarse(look.candidate),
            self.compared + look.compared,
            self.different + look.different,
            look.trouble[:_TROUBLE_CHARS_MAX] or self.trouble,
        )

    def joined(self, later: Sample) -> Sample:
        """Both as one; what lies between counts to it."""
        seconds = max(later.until - self.since, self.seconds + later.seconds)
        return Sample(
            self.since,
            seconds,
            *self.place,
            self.baseline + later.baseline,
            self.candidate + later.candidate,
            self.compared + later.compared,
            self.different + later.different,
            later.trouble or self.trouble,
        )

    def continues(self, earlier: Sample) -> bool:
        """Whether it came right after *earlier*, and nothing changed between."""
        gap = self.since - earlier.until
        return self.place == earlier.place and gap <= self.seconds + earlier.seconds


def seconds_of_next(so_far: float) -> float:
    """How long the next sample of a try is to be that lasted *so_far* seconds."""
    return min(_SECONDS_MOST, max(_SECONDS_LEAST, _SECONDS_PART * so_far))


@dataclass(frozen=True, slots=True)
class Kept:
    """What is to be written, by number, so that the samples in the store are those of a series."""

    put: Mapping[int, Sample]
    drop: Sequence[int] = ()


class Series:
    """The samples of a migration by number, the oldest first: `SAMPLES_MAX` at most.

    Where there is no room, the two neighbours that are shortest together become one, the older
    ones first: so all get longer, evenly, and nothing is forgotten but when exactly it was.
    """

    def __init__(self, samples: Mapping[int, Sample] | None = None) -> None:
        self._samples = dict(sorted((samples or {}).items()))

    def samples(self) -> list[Sample]:
        """All of them."""
        return list(self._samples.values())

    def add(self, sample: Sample) -> Kept:
        """*sample* is the newest; what that changes."""
        number = max(self._samples, default=0) + 1
        self._samples[number] = sample
        if len(self._samples) <= SAMPLES_MAX:
            return Kept({number: sample})
        pair = self._shortest()
        if pair is None:
            oldest = min(self._samples)
            del self._samples[oldest]
            return Kept({number: sample}, [oldest])
        earlier, later = pair
        joined = self._samples[earlier].joined(self._samples.pop(later))
        self._samples[earlier] = joined
        if later == number:
            return Kept({earlier: joined})
        return Kept({earlier: joined, number: sample}, [later])

    def _shortest(self) -> tuple[int, int] | None:
        """The neighbours to put together; `None` when all are of different stages."""
        found = [
            (self._samples[one].seconds + self._samples[other].seconds, one, other)
            for one, other in pairwise(self._samples)
            if self._samples[other].continues(self._samples[one])
        ]
        return min(found)[1:] if found else None


def sample_document(sample: Sample) -> dict[str, Any]:
    """*sample* as JSON values."""
    return {
        "since": round(sample.since, 3),
        "seconds": round(sample.seconds, 3),
        "tries": sample.tries,
        "stage": sample.stage,
        "share": sample.share,
        "baseline": _side_document(sample.baseline),
        "candidate": _side_document(sample.candidate),
        "compared": sample.compared,
        "different": sample.different,
        "trouble": sample.trouble,
    }


def sample_from(document: Mapping[str, Any]) -> Sample:
    """What `sample_document` made. Raises `KeyError`, `TypeError`, `ValueError`."""
    sides = {name: _side_from(document[name]) for name in ("baseline", "candidate")}
    return Sample(**{**document, **sides})


def _side_document(side: Side) -> list[Any]:
    times = [[_index(each.lower), count] for each, count in sorted(side.times.items())]
    return [side.requests, side.errors, times]


def _side_from(document: Sequence[Any]) -> Side:
    requests, errors, times = document
    return Side(requests, errors, {_bin(index): count for index, count in times})


def _coarse(side: Side) -> Side:
    return Side(side.requests, side.errors, _coarse_times(side.times))


def _coarse_times(times: Times) -> Times:
    found: dict[Bin, int] = {}
    for (lower, width), count in times.items():
        place = _bin(_index(lower + width / 2))
        found[place] = found.get(place, 0) + count
    return found


def _index(time: float) -> int:
    """The number of the bin that *time* is in; 0 is everything below a millisecond."""
    # What is rounded here is the edge of a bin, which must not fall into the one below.
    return 0 if time < 1.0 else 1 + math.floor(_BINS_PER_DECADE * math.log10(time) + 1e-6)


def _bin(index: int) -> Bin:
    if index <= 0:
        return Bin(0.0, 1.0)
    low, high = (10.0 ** (each / _BINS_PER_DECADE) for each in (index - 1, index))
    return Bin(low, high - low)
