"""How much is asked per second, from counters that are read now and then."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise

from moreton.kernel.time import NANOSECONDS_PER_SECOND, Instant, nanos_of

# A change is seen by the last half second.
_SHORT = nanos_of(timedelta(milliseconds=500))
# What does not change is averaged over up to this.
_LONG = nanos_of(timedelta(seconds=4))
_SAMPLES_MAX = 64
# More than this many standard deviations off is a change, and not how requests happen to come.
_DEVIATIONS = 3.0
# So much of it each look within that half second has to show: what a machine holds up for a moment
# comes with the next look.
_PART_OF_EACH = 0.5


class Meter:
    """Rates of the counters that it is fed, by name.

    Steady traffic gives a steady rate; a jump is followed within half a second, and a moment in
    which nothing was done but afterwards is none. A counter that goes back began anew.
    """

    __slots__ = ("_samples",)

    def __init__(self) -> None:
        self._samples: dict[str, deque[tuple[int, int]]] = {}

    def feed(self, counters: Mapping[str, int], now: Instant) -> None:
        """The counters as they are *now*; a name that is not there is forgotten."""
        for name in self._samples.keys() - counters.keys():
            del self._samples[name]
        for name, count in counters.items():
            samples = self._samples.setdefault(name, deque(maxlen=_SAMPLES_MAX))
            if samples and (count < samples[-1][1] or now.nanos <= samples[-1][0]):
                samples.clear()
            samples.append((now.nanos, count))
            _trim(samples)

    def rates(self) -> dict[str, float]:
        """Counts a second of every counter that was seen twice."""
        return {
            name: _rate(samples[0], samples[-1])
            for name, samples in self._samples.items()
            if len(samples) > 1
        }


def _trim(samples: deque[tuple[int, int]]) -> None:
    """Forget what is old, and all but the last half second when that is of another kind."""
    newest = samples[-1]
    while len(samples) > 2 and newest[0] - samples[1][0] >= _LONG:
        samples.popleft()
    looks = [newest]
    for each in reversed(samples):
        if each is not newest:
            looks.append(each)
        if newest[0] - each[0] >= _SHORT:
            break
    recent = looks[-1]
    if recent is samples[0]:
        return
    before = _rate(samples[0], recent)
    expected = before * (newest[0] - recent[0]) / NANOSECONDS_PER_SECOND
    off = _rate(recent, newest) - before
    if abs(newest[1] - recent[1] - expected) <= _DEVIATIONS * max(1.0, expected) ** 0.5:
        return
    if all((_rate(a, b) - before) / off >= _PART_OF_EACH for b, a in pairwise(looks)):
        while samples[0] is not recent:
            samples.popleft()


def _rate(first: tuple[int, int], last: tuple[int, int]) -> float:
    return (last[1] - first[1]) * NANOSECONDS_PER_SECOND / (last[0] - first[0])
