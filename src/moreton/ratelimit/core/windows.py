"""Limits that count in windows: fixed, and sliding over two of them."""

from __future__ import annotations

from moreton.kernel.quantities import Rate
from moreton.kernel.time import nanos_of
from moreton.ratelimit.core.limit import (
    NEVER,
    QUOTA_MAX,
    Cells,
    Limit,
    rate_name,
    rate_of,
    whole_count,
)


class Windowed(Limit):
    """A count within the window that runs; cells are its beginning, its end and the count."""

    __slots__ = ()

    on_calendar = True

    def bounds(self, now: int) -> tuple[int, int]:
        """The window [begin, end) that *now* is in."""
        raise NotImplementedError

    def _at(self, cells: Cells, now: int) -> tuple[int, int, int]:
        """The window that counts at *now*, and what was used of it.

        A clock that was set back keeps the window it was in, so that no quota comes twice; unless
        it was set back by more than a window, which would wait too long.
        """
        begin, end, used = cells[0], cells[1], cells[2]
        if 2 * begin - end <= now < end:
            return begin, end, used
        begin, end = self.bounds(now)
        return begin, end, 0

    def wait(self, cells: Cells, now: int, cost: int) -> int:
        """See `Limit.wait`."""
        if cost > self.quota:
            return NEVER
        _, end, used = self._at(cells, now)
        return 0 if used + cost <= self.quota else end - now

    def take(self, cells: Cells, now: int, cost: int) -> None:
        """See `Limit.take`."""
        begin, end, used = self._at(cells, now)
        cells[0], cells[1], cells[2] = begin, end, min(used + cost, QUOTA_MAX)

    def give(self, cells: Cells, now: int, cost: int, taken: int) -> None:
        """See `Limit.give`; nothing once the window of the charge is over."""
        begin, end, used = self._at(cells, now)
        if taken >= begin:
            cells[0], cells[1], cells[2] = begin, end, max(0, used - cost)

    def left(self, cells: Cells, now: int) -> int:
        """See `Limit.left`."""
        return max(0, self.quota - self._at(cells, now)[2])

    def full_in(self, cells: Cells, now: int) -> int:
        """See `Limit.full_in`."""
        _, end, used = self._at(cells, now)
        return end - now if used else 0


class FixedWindow(Windowed):
    """A count in every period of the clock: `1000/min` begins anew with each minute.

    Simple to explain and to bill by. Up to twice the count can pass around the edge of two windows:
    where that matters take a `Gcra` or a `SlidingCounter`.
    """

    __slots__ = ()

    def __init__(self, rate: Rate | str, *, name: str = "") -> None:
        rate = rate_of(rate)
        super().__init__(name or rate_name(rate), whole_count(rate), nanos_of(rate.per), 3)

    def bounds(self, now: int) -> tuple[int, int]:
        """See `Windowed.bounds`."""
        begin = now - now % self.period_nanos
        return begin, begin + self.period_nanos


class SlidingCounter(Limit):
    """A count in any period, estimated from two windows; cells are the beginning and both counts.

    admitted + previous * (period - elapsed) / period <= count. Exact while requests come evenly; at
    worst, with all of a window at its end, less than twice the count passes in one period. Source:
    Cloudflare, "How we built rate limiting capable of scaling to millions of domains", 2017.
    """

    __slots__ = ()

    def __init__(self, rate: Rate | str, *, name: str = "") -> None:
        rate = rate_of(rate)
        super().__init__(name or rate_name(rate), whole_count(rate), nanos_of(rate.per), 3)

    def wait(self, cells: Cells, now: int, cost: int) -> int:
        """See `Limit.wait`."""
        if cost > self.quota:
            return NEVER
        begin, present, previous = self._at(cells, now)
        elapsed = now - begin
        room = self.quota - cost - present
        if room >= previous:
            return 0
        if room >= 0:
            return max(0, self._until(previous, room) - elapsed)
        # Not in this window; in the next, what is now the present one is the previous.
        beyond = self._until(present, self.quota - cost)
        return max(0, self.period_nanos + beyond - elapsed)

    def take(self, cells: Cells, now: int, cost: int) -> None:
        """See `Limit.take`."""
        begin, present, previous = self._at(cells, now)
        cells[0], cells[1], cells[2] = begin, min(present + cost, QUOTA_MAX), previous

    def give(self, cells: Cells, now: int, cost: int, taken: int) -> None:
        """See `Limit.give`."""
        begin, present, previous = self._at(cells, now)
        if taken >= begin:
            present = max(0, present - cost)
        elif taken >= begin - self.period_nanos:
            previous = max(0, previous - cost)
        cells[0], cells[1], cells[2] = begin, present, previous

    def left(self, cells: Cells, now: int) -> int:
        """See `Limit.left`."""
        begin, present, previous = self._at(cells, now)
        fading = previous * (self.period_nanos - max(0, now - begin))
        return max(0, self.quota - present + -fading // self.period_nanos)

    def full_in(self, cells: Cells, now: int) -> int:
        """See `Limit.full_in`."""
        begin, present, previous = self._at(cells, now)
        periods = 2 if present else 1 if previous else 0
        return begin + periods * self.period_nanos - now if periods else 0

    def _until(self, previous: int, room: int) -> int:
        """How far into a window at most *room* of *previous* still counts."""
        if previous <= room:
            return 0
        # The least elapsed for which previous * (period - elapsed) is within room * period.
        return self.period_nanos - room * self.period_nanos // previous

    def _at(self, cells: Cells, now: int) -> tuple[int, int, int]:
        """The beginning of the window that counts at *now*, its count and that of the one before.

        Windows begin with the first use, so that keys do not roll over all at once.
        """
        begin, present, previous = cells[0], cells[1], cells[2]
        past = (now - begin) // self.period_nanos
        if past <= 0 and (present or previous):
            # Before the window only after a charge that was made ahead: it counts in full.
            return begin, present, previous
        if past == 1 and present:
            return begin + self.period_nanos, 0, present
        return now, 0, 0
