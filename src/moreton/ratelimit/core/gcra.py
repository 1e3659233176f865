"""Limits whose whole state is one moment: the generic cell rate algorithm, and a paced queue.

Source: ITU-T I.371, the virtual scheduling algorithm.
"""

from __future__ import annotations

from moreton.kernel.arguments import check_whole
from moreton.kernel.quantities import Rate
from moreton.ratelimit.core.limit import (
    DEBT_NANOS_MAX,
    NEVER,
    Cells,
    Limit,
    interval_nanos,
    rate_name,
    rate_of,
)


class Gcra(Limit):
    """A *rate*, of which up to *burst* can be used at once; the default choice.

    Never more than burst + rate * w in any window of length w. *burst* is the rate's count unless
    given. The state is the moment at which all is there again, and exact.
    """

    __slots__ = ("interval", "tolerance")

    reservable = True

    def __init__(self, rate: Rate | str, burst: int | None = None, *, name: str = "") -> None:
        rate = rate_of(rate)
        if burst is None:
            burst = max(1, int(rate.count))
        check_whole("burst", burst, 1, why="nothing would ever pass")
        self.interval = interval_nanos(rate)
        self.tolerance = self.interval * burst
        super().__init__(name or rate_name(rate), burst, self.tolerance, 1)

    def wait(self, cells: Cells, now: int, cost: int) -> int:
        """See `Limit.wait`."""
        if cost > self.quota:
            return NEVER
        behind = max(0, cells[0] - now)
        return max(0, behind + cost * self.interval - self.tolerance)

    def take(self, cells: Cells, now: int, cost: int) -> None:
        """See `Limit.take`."""
        full_at = max(now, cells[0]) + cost * self.interval
        cells[0] = min(full_at, now + max(DEBT_NANOS_MAX, self.tolerance))

    def give(self, cells: Cells, now: int, cost: int, taken: int) -> None:  # noqa: ARG002 - the shape
        """See `Limit.give`."""
        cells[0] = max(0, cells[0] - cost * self.interval)

    def left(self, cells: Cells, now: int) -> int:
        """See `Limit.left`."""
        return max(0, self.tolerance - max(0, cells[0] - now)) // self.interval

    def full_in(self, cells: Cells, now: int) -> int:
        """See `Limit.full_in`."""
        return max(0, cells[0] - now)


class LeakyBucket(Gcra):
    """A queue that lets one through every 1 / *rate*: no bursts, and *queue* may wait in it.

    Who comes when others wait is told how long: a request is delayed, not refused, until the queue
    is full.
    """

    __slots__ = ("patience_nanos", "queue")

    def __init__(self, rate: Rate | str, queue: int, *, name: str = "") -> None:
        check_whole("queue", queue, 1, why="all but one at a time would be refused: take a Gcra")
        super().__init__(rate, 1, name=name)
        self.queue = queue
        self.patience_nanos = queue * self.interval
        # One that passes and all that wait: a larger cost could never pass.
        self.quota = queue + 1
        self.period_nanos = self.quota * self.interval

    def wait(self, cells: Cells, now: int, cost: int) -> int:
        """See `Limit.wait`; a cost of several leaves as many turns free after it."""
        if cost > self.quota:
            return NEVER
        behind = max(0, cells[0] - now)
        if behind + cost * self.interval > self.period_nanos:
            # No room in the queue: until there is, waiting in it does not help.
            return behind + cost * self.interval - self.interval
        return behind

    def left(self, cells: Cells, now: int) -> int:
        """See `Limit.left`: the places in the queue, and the turn."""
        return max(0, self.period_nanos - max(0, cells[0] - now)) // self.interval
