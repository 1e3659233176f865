"""Limits that remember moments, as many as their quota: a sliding log, and work under way."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from moreton.kernel.arguments import check_duration, check_kind, check_whole
from moreton.kernel.quantities import Rate
from moreton.kernel.time import nanos_of
from moreton.ratelimit.core.limit import (
    NEVER,
    Cells,
    Limit,
    rate_name,
    rate_of,
    seconds_of,
    whole_count,
)
from moreton.resilience.core.limits import ConcurrencyLimit, Gradient2

RING_MAX = 100_000
_HOLD = timedelta(minutes=1)
# How soon a cost above the present estimate may be asked for again.
_GROW_NANOS = 100_000_000


class SlidingLog(Limit):
    """A count in any period, exactly: the moments of the last *count* are remembered.

    Cells are the place of the oldest, and a ring of moments, 0 for none: eight bytes for each
    request of the quota and key, and a decision that is O(cost).
    """

    __slots__ = ()

    def __init__(self, rate: Rate | str, *, name: str = "") -> None:
        rate = rate_of(rate)
        count = whole_count(rate)
        check_whole(
            "the count", count, 1, RING_MAX, "so many moments a key are not kept; take a Gcra"
        )
        super().__init__(name or rate_name(rate), count, nanos_of(rate.per), count + 1)

    def wait(self, cells: Cells, now: int, cost: int) -> int:
        """See `Limit.wait`."""
        if cost > self.quota:
            return NEVER
        if not cost:
            return 0
        # The ring is sorted: the last one that has to be gone says when.
        moment = cells[1 + (cells[0] + cost - 1) % self.quota]
        return max(0, moment + self.period_nanos - now) if moment else 0

    def take(self, cells: Cells, now: int, cost: int) -> None:
        """See `Limit.take`; what is charged beyond the quota is not remembered."""
        oldest = cells[0]
        cost = min(cost, self.quota)
        # A clock never goes back; a charge made ahead keeps its place at the end.
        now = max(now, cells[1 + (oldest - 1) % self.quota])
        for place in range(oldest, oldest + cost):
            cells[1 + place % self.quota] = now
        cells[0] = (oldest + cost) % self.quota

    def give(self, cells: Cells, now: int, cost: int, taken: int) -> None:  # noqa: ARG002 - the shape
        """See `Limit.give`; the newest are forgotten."""
        newest = cells[0]
        cost = min(cost, self.quota)
        for place in range(newest - cost, newest):
            cells[1 + place % self.quota] = 0
        cells[0] = (newest - cost) % self.quota

    def left(self, cells: Cells, now: int) -> int:
        """See `Limit.left`."""
        gone = now - self.period_nanos
        return sum(not moment or moment <= gone for moment in _moments(self, cells))

    def full_in(self, cells: Cells, now: int) -> int:
        """See `Limit.full_in`."""
        newest = cells[1 + (cells[0] - 1) % self.quota]
        return max(0, newest + self.period_nanos - now) if newest else 0


class Concurrency(Limit):
    """At most *quota* at a time; what was taken is given back when the work is done.

    Work that has not ended after *hold* is taken for lost, so that a process which died gives back
    what it had; work that lasts longer lets one more in. Cells are the moments at which each is
    given up, 0 for none: a decision is O(quota).
    """

    __slots__ = ("hold",)

    held = True

    def __init__(self, quota: int, *, hold: timedelta = _HOLD, name: str = "") -> None:
        check_whole("quota", quota, 1, RING_MAX, "nothing would ever run; or take AdaptiveLimit")
        check_duration("hold", hold, "work would be given up before it began")
        self.hold = nanos_of(hold)
        name = name or f"{quota} at a time"
        super().__init__(name, quota, self.hold, quota)

    def wait(self, cells: Cells, now: int, cost: int) -> int:
        """See `Limit.wait`; at the latest: work may end earlier."""
        if cost > self.quota:
            return NEVER
        busy = sorted(end for end in _ends(self, cells) if end > now)
        short = len(busy) + cost - self.quota
        return busy[short - 1] - now if short > 0 else 0

    def take(self, cells: Cells, now: int, cost: int) -> None:
        """See `Limit.take`; what is beyond the quota is not remembered."""
        for place in range(self.quota):
            if not cost:
                return
            if cells[place] <= now:
                cells[place] = now + self.hold
                cost -= 1

    def give(self, cells: Cells, now: int, cost: int, taken: int) -> None:  # noqa: ARG002 - the shape
        """See `Limit.give`."""
        for place in range(self.quota):
            if not cost:
                return
            if cells[place] == taken + self.hold:
                cells[place] = 0
                cost -= 1

    def left(self, cells: Cells, now: int) -> int:
        """See `Limit.left`."""
        return sum(end <= now for end in _ends(self, cells))

    def full_in(self, cells: Cells, now: int) -> int:
        """See `Limit.full_in`."""
        return max(0, max(_ends(self, cells)) - now)


class AnsweredWindow(Concurrency):
    """A *rate* as a server counts it that is asked: no more than its count in any period there.

    When a request arrives is not known, but that it is before its answer: a place is taken when it
    is sent, and free again one period after it was answered. So neither the way nor a busy machine
    brings two too close together; what it costs is the time to the answers: count / (period + that)
    are used. A request that has no answer after *hold* is taken for answered.
    """

    __slots__ = ("gap",)

    def __init__(self, rate: Rate | str, *, hold: timedelta = _HOLD, name: str = "") -> None:
        rate = rate_of(rate)
        super().__init__(whole_count(rate), hold=hold, name=name or f"{rate_name(rate)} answered")
        self.gap = nanos_of(rate.per)

    def give(self, cells: Cells, now: int, cost: int, taken: int) -> None:
        """See `Limit.give`."""
        for place in range(self.quota):
            if not cost:
                return
            if cells[place] == taken + self.hold:
                cells[place] = now + self.gap
                cost -= 1


class AdaptiveConcurrency(Concurrency):
    """As many at a time as *estimator* finds: told of all work that ended, it follows its time.

    The estimate is one for all keys, and of one process: take it with a `LocalLimiter`, and a
    quota for each key beside it.
    """

    __slots__ = ("estimator",)

    def __init__(
        self, estimator: ConcurrencyLimit | None = None, *, hold: timedelta = _HOLD, name: str = ""
    ) -> None:
        self.estimator = Gradient2() if estimator is None else estimator
        check_kind("estimator", self.estimator, ConcurrencyLimit, "a Gradient2(), or a Vegas()")
        super().__init__(self.estimator.highest, hold=hold, name=name or "adaptive")

    @property
    def present_quota(self) -> int:
        """See `Limit.present_quota`."""
        return self.estimator.limit

    def wait(self, cells: Cells, now: int, cost: int) -> int:
        """See `Limit.wait`."""
        if cost > self.estimator.highest:
            return NEVER
        if cost > self.estimator.limit:
            # Not now, even with nothing under way; the estimate may grow.
            return _GROW_NANOS
        return super().wait(cells, now, cost + self.quota - self.estimator.limit)

    def left(self, cells: Cells, now: int) -> int:
        """See `Limit.left`."""
        return max(0, super().left(cells, now) - (self.quota - self.estimator.limit))

    def give(self, cells: Cells, now: int, cost: int, taken: int) -> None:
        """See `Limit.give`; the time of the work is what is learned from."""
        under_way = self.quota - super().left(cells, now)
        super().give(cells, now, cost, taken)
        self.estimator.sample(seconds_of(now - taken), under_way, dropped=False)


def _moments(limit: SlidingLog, cells: Cells) -> Iterator[int]:
    return (cells[place] for place in range(1, limit.quota + 1))


def _ends(limit: Concurrency, cells: Cells) -> Iterator[int]:
    return (cells[place] for place in range(limit.quota))
