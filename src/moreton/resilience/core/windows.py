"""Sliding windows over calls: the last N of them, or those of the last N seconds.

Successes are by far the most, so they cost one addition. Under free threading two calls that end at
the same moment may count as one. Whatever looks at the counts holds the lock of its breaker or
budget.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right


class CountWindow:
    """The outcomes of the last *size* calls, exactly.

    Only failed and slow calls are kept, by their number: a call is in the window while fewer than
    *size* have come after it. Those that are not any more are dropped at the next look.
    """

    __slots__ = ("_failed", "_noted_max", "_size", "_slow", "total")

    def __init__(self, size: int) -> None:
        self._size = size
        self.total = 0
        self._failed: list[int] | None = None
        self._slow: list[int] | None = None
        self._noted_max = 0

    def success(self, _now: float) -> None:
        """A call succeeded in good time."""
        self.total += 1

    def note_failure(self) -> bool:
        """Count a failed call, unless somebody has to look at the counts then: see `look_from`."""
        failed = self._failed
        if failed is None:
            return False
        total = self.total + 1
        kept, most = len(failed), self._noted_max
        # With this one there are more than *most* in the window if the one so far back is in it.
        if kept >= most and (
            not most or kept >= 2 * self._size or failed[-most] > total - self._size
        ):
            return False
        self.total = total
        failed.append(total)
        return True

    def failure(self, _now: float) -> None:
        """A call failed."""
        self.total += 1
        if self._failed is None:
            self._failed = []
        self._failed.append(self.total)

    def slow(self, _now: float) -> None:
        """A call was slow."""
        self.total += 1
        if self._slow is None:
            self._slow = []
        self._slow.append(self.total)

    def look_from(self, failed: int) -> None:
        """The counts need not be looked at before *failed* failures are in the window."""
        self._noted_max = failed - 1

    def counts(self, _now: float) -> tuple[int, int, int]:
        """Calls, failed calls and slow calls in the window."""
        oldest = self.total - self._size
        return (
            min(self.total, self._size),
            _kept(self._failed, oldest) if self._failed else 0,
            _kept(self._slow, oldest) if self._slow else 0,
        )

    def reset(self, _now: float) -> None:
        """Forget everything."""
        self.total = self._noted_max = 0
        self._failed = self._slow = None


def _kept(numbers: list[int], oldest: int) -> int:
    """How many of *numbers* are above *oldest*; the others are dropped."""
    del numbers[: bisect_right(numbers, oldest)]
    return len(numbers)


class TimeWindow:
    """The outcomes of the last *seconds*, in *buckets* steps.

    A call counts for at least `seconds * (1 - 1 / buckets)` and at most `seconds`: an old bucket is
    dropped as a whole. Three counts a bucket.
    """

    __slots__ = ("_buckets", "_failed", "_length", "_next", "_old", "_place", "_slow", "_total")

    def __init__(self, seconds: float, buckets: int) -> None:
        self._length = seconds / buckets
        self._buckets = buckets - 1  # finished ones; one more is being filled
        self._next = 0.0  # when the bucket that is being filled ends
        self._total = self._failed = self._slow = 0
        self._old: array[int] | None = None  # rows of total, failed, slow
        self._place = 0

    def success(self, now: float) -> None:
        """A call succeeded in good time."""
        if now >= self._next:
            self._turn(now)
        self._total += 1

    def note_failure(self) -> bool:
        """Never: as time passes the counts change by themselves."""
        return False

    def failure(self, now: float) -> None:
        """A call failed."""
        self.success(now)
        self._failed += 1

    def slow(self, now: float) -> None:
        """A call was slow."""
        self.success(now)
        self._slow += 1

    def look_from(self, failed: int) -> None:
        """Nothing: see `note_failure`."""

    def add_failure(self, now: float) -> None:
        """One more failure, of a call that was counted already."""
        if now >= self._next:
            self._turn(now)
        self._failed += 1

    def counts(self, now: float) -> tuple[int, int, int]:
        """Calls, failed calls and slow calls in the window."""
        if now >= self._next:
            self._turn(now)
        old = self._old
        if old is None:
            return self._total, self._failed, self._slow
        return (
            self._total + sum(old[0::3]),
            self._failed + sum(old[1::3]),
            self._slow + sum(old[2::3]),
        )

    def reset(self, now: float) -> None:
        """Forget everything."""
        self._total = self._failed = self._slow = 0
        self._old = None
        self._next = now + self._length

    def _turn(self, now: float) -> None:
        """Finish the current bucket, and those that went by empty."""
        passed = int((now - self._next) / self._length) + 1
        if self._next == 0.0 or passed > self._buckets:
            self.reset(now)
            return
        if self._old is None:
            if not self._total and not self._failed:
                self._next += passed * self._length
                return
            self._old = array("I", bytes(12 * self._buckets))
        for number in range(passed):
            at = 3 * self._place
            first = number == 0
            self._old[at] = self._total if first else 0
            self._old[at + 1] = self._failed if first else 0
            self._old[at + 2] = self._slow if first else 0
            self._place = (self._place + 1) % self._buckets
        self._total = self._failed = self._slow = 0
        self._next += passed * self._length
