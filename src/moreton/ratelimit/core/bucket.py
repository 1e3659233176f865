"""A token bucket that is filled at intervals, as Envoy's local limit is."""

from __future__ import annotations

from datetime import timedelta

from moreton.kernel.arguments import check_duration, check_whole
from moreton.kernel.quantities import format_duration
from moreton.kernel.time import nanos_of
from moreton.ratelimit.core.limit import NEVER, Cells, Limit

_USED_MAX = 2**53


class TokenBucket(Limit):
    """*capacity* tokens, of which *refill* come back at once *every* so often.

    The interval begins with the first use of a full bucket. Never more than capacity + refill *
    ceil(w / every) in any window of length w. A `Gcra` fills without steps.
    """

    __slots__ = ("every", "refill")

    reservable = True

    def __init__(self, capacity: int, refill: int, every: timedelta, *, name: str = "") -> None:
        check_whole("capacity", capacity, 1, why="nothing would ever pass")
        check_whole("refill", refill, 1, capacity, "the bucket would never fill, or overflow")
        check_duration("every", every, "nothing would ever come free")
        self.refill = refill
        self.every = nanos_of(every)
        fills = -(-capacity // refill)
        name = name or f"{refill} every {format_duration(every)}"
        super().__init__(name, capacity, fills * self.every, 2)

    def wait(self, cells: Cells, now: int, cost: int) -> int:
        """See `Limit.wait`."""
        if cost > self.quota:
            return NEVER
        used, since = self._at(cells, now)
        short = used + cost - self.quota
        if short <= 0:
            # Nobody overtakes a turn that was taken ahead: what there was before it is spent.
            return max(0, since - now)
        return since + -(-short // self.refill) * self.every - now

    def take(self, cells: Cells, now: int, cost: int) -> None:
        """See `Limit.take`."""
        used, since = self._at(cells, now)
        cells[0] = min(used + cost, _USED_MAX)
        cells[1] = since

    def give(self, cells: Cells, now: int, cost: int, taken: int) -> None:  # noqa: ARG002 - the shape
        """See `Limit.give`."""
        used, since = self._at(cells, now)
        cells[0] = max(0, used - cost)
        cells[1] = since

    def left(self, cells: Cells, now: int) -> int:
        """See `Limit.left`."""
        used, since = self._at(cells, now)
        return 0 if since > now else max(0, self.quota - used)

    def full_in(self, cells: Cells, now: int) -> int:
        """See `Limit.full_in`."""
        used, since = self._at(cells, now)
        return since + -(-used // self.refill) * self.every - now if used else 0

    def _at(self, cells: Cells, now: int) -> tuple[int, int]:
        """How many are used at *now*, and since when the present interval runs."""
        used, since = cells[0], cells[1]
        fills = max(0, (now - since) // self.every)
        used = max(0, used - fills * self.refill)
        return (used, since + fills * self.every) if used else (0, now)
