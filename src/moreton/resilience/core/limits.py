"""Adaptive concurrency: how many calls may be under way, learned from how long they take."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from moreton.kernel.arguments import check_number, check_whole

_LONG_WEIGHT = 2 / (600 + 1)  # an exponential average over 600 round trips
_MEASURE_EVERY = 600  # round trips
_MEASURE_FOR = 10  # round trips: enough for a queue to drain, and for ten means of the time
_PROBE_EVERY = 30  # in multiples of the limit: how often Vegas measures its floor anew


class ConcurrencyLimit(ABC):
    """A *limit* within [*lowest*, *highest*], told of every call that ended."""

    __slots__ = ("_estimate", "highest", "limit", "lowest")

    def __init__(self, initial: int, lowest: int, highest: int) -> None:
        for name, value in (("lowest", lowest), ("initial", initial), ("highest", highest)):
            check_whole(name, value, 1, why="no call would ever be made")
        if not lowest <= initial <= highest:
            raise ValueError(
                f"lowest {lowest}, initial {initial} and highest {highest} are out of order: give "
                "lowest <= initial <= highest"
            )
        self.lowest = lowest
        self.highest = highest
        self.limit = initial
        self._estimate = float(initial)

    def sample(self, seconds: float, under_way: int, *, dropped: bool) -> None:
        """A call took *seconds* while *under_way* calls, itself included, were under way.

        *dropped*: it was refused or timed out for load, so its time says nothing.
        """
        estimate = self._next(seconds, under_way, dropped=dropped)
        self._estimate = min(float(self.highest), max(float(self.lowest), estimate))
        self.limit = int(self._estimate)

    @abstractmethod
    def _next(self, seconds: float, under_way: int, *, dropped: bool) -> float:
        """The new limit, before it is bounded."""


class Gradient2(ConcurrencyLimit):
    """Follows the ratio of the long-term to the present time of a call.

    gradient = max(0.5, min(1, *tolerance* * long / present));
    limit = (1 - *smoothing*) * limit + *smoothing* * (limit * gradient + *queue*),
    once a round trip, in as many steps as the limit allows calls.
    A limit of which less than half is used does not grow. Unlike in its source, the long-term time
    does not rise while the limit is used: a queue that this limit lets grow would else become what
    it measures by. Every 600 round trips the limit is halved for ten to measure it anew.

    Source: Netflix concurrency-limits, Gradient2Limit; Envoy's adaptive concurrency, which measures
    so too.
    """

    __slots__ = ("_before", "_long", "_rounds", "queue", "smoothing", "tolerance")

    def __init__(
        self,
        initial: int = 20,
        lowest: int = 4,
        highest: int = 1000,
        *,
        tolerance: float = 1.5,
        smoothing: float = 0.2,
        queue: int = 4,
    ) -> None:
        super().__init__(initial, lowest, highest)
        _check_gradient(tolerance, smoothing, queue)
        self.tolerance = tolerance
        self.smoothing = smoothing
        self.queue = queue
        self._long = 0.0
        self._rounds = 0.0  # round trips since the last measurement; below 0 during one
        self._before = 0.0  # the limit to go back to after it

    def _next(self, seconds: float, under_way: int, *, dropped: bool) -> float:
        if dropped:
            self._before *= 1 - self.smoothing / 2
            return self._estimate * (1 - self.smoothing / 2)
        present = max(seconds, 1e-9)
        if not self._long:
            self._long = present
        step = 1 / self._estimate
        self._rounds += step
        if self._rounds < 0:
            self._long += (present - self._long) * step
            return self._estimate if self._rounds + step < 0 else self._before
        if self._rounds > _MEASURE_EVERY:
            self._rounds = -_MEASURE_FOR
            self._before = self._estimate
            return self._estimate / 2
        return self._step(present, under_way, step)

    def _step(self, present: float, under_way: int, step: float) -> float:
        unused = under_way < self._estimate / 2
        if present < self._long or unused:
            self._long += (present - self._long) * _LONG_WEIGHT * step
        if unused:
            return self._estimate
        gradient = max(0.5, min(1.0, self.tolerance * self._long / present))
        wanted = self._estimate * gradient + self.queue
        return self._estimate + (wanted - self._estimate) * self.smoothing * step


def _check_gradient(tolerance: float, smoothing: float, queue: int) -> None:
    check_number("tolerance", tolerance, 1, why="the limit would shrink for ever")
    check_number("smoothing", smoothing, 0, 1, "it is a share", above=True)
    check_whole("queue", queue, 1, why="the limit would never grow")


class Vegas(ConcurrencyLimit):
    """Estimates the queue, limit * (1 - shortest / present), and keeps it between alpha and beta.

    alpha = 3 * log10(limit), beta = 6 * log10(limit), both at least those of a limit of 10; a queue
    of at most log10(limit) grows the limit by beta, one below alpha by log10(limit), one above beta
    shrinks it by log10(limit).

    Source: Brakmo and Peterson, "TCP Vegas", 1995; Netflix concurrency-limits, VegasLimit.
    """

    __slots__ = ("_samples", "_shortest")

    def __init__(self, initial: int = 20, lowest: int = 4, highest: int = 1000) -> None:
        super().__init__(initial, lowest, highest)
        self._shortest = 0.0
        self._samples = 0

    def _next(self, seconds: float, under_way: int, *, dropped: bool) -> float:
        log = max(1.0, math.log10(self._estimate))
        if dropped:
            return self._estimate - log
        present = max(seconds, 1e-9)
        self._samples += 1
        if not self._shortest or self._samples > _PROBE_EVERY * self._estimate:
            self._samples = 0
            self._shortest = present
        # A floor that was just found, or a limit that is hardly used, says nothing of a queue.
        self._shortest = min(self._shortest, present)
        if present == self._shortest or under_way * 2 < self._estimate:
            return self._estimate
        queue = math.ceil(self._estimate * (1 - self._shortest / present))
        return self._estimate + _vegas_step(queue, log)


def _vegas_step(queue: int, log: float) -> float:
    if queue <= log:
        return 6 * log
    if queue < 3 * log:
        return log
    return -log if queue > 6 * log else 0.0
