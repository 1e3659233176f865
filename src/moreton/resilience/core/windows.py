"""Sliding windows over calls: the last N of them, or those of the last N seconds.

Successes are by far the most, so they cost one addition. Under free threading two of them at the
same moment may count as one; failures are counted by who holds the lock of the breaker or budget.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right


class CountWindow:
    """The outcomes of the last *size* calls, exactly.

    Only failed and slow calls are kept, by their number: a call is in the window while fewer than
    *size* have come after it.
    """

    __slots__ = ("_failed", "_size", "_slow", "total")

    def __init__(self, size: int) -> None:
        self._size = size
        self.total = 0
        self._failed: list[int] | None = None
        self._slow: list[int] | None = None

    def success(self, _now: float) -> None:
        """A call succeeded in good time."""
        self.total += 1

    def record(self, _now: float, *, failed: bool, slow: bool) -> None:
        """A call failed, or was slow, or both."""
        self.total += 1
        if failed:
            self._failed = _appended(self._failed, self.total, self._size)
        if slow:
            self._slow = _appended(self._slow, self.total, self._size)

    def counts(self, _now: float) -> tuple[int, int, int]:
        """Calls, failed calls and slow calls in the window."""
        oldest = self.total - self._size
        return (
            min(self.total, self._size),
            _later_than(self._failed, oldest),
            _later_than(self._slow, oldest),
        )

    def reset(self, _now: float) -> None:
        """Forget everything."""
        self.total = 0
        self._failed = self._slow = None


def _appended(numbers: list[int] | None, number: int, size: int) -> list[int]:
    if numbers is None:
        return [number]
    if len(numbers) >= size:
        del numbers[: bisect_right(numbers, number - size)]
    numbers.append(number)
    return numbers


def _later_than(numbers: list[int] | None, oldest: int) -> int:
    return 0 if numbers is None else len(numbers) - bisect_right(numbers, oldest)


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

    def record(self, now: float, *, failed: bool, slow: bool) -> None:
        """A call failed, or was slow, or both."""
        if now >= self._next:
            self._turn(now)
        self._total += 1
        self._failed += failed
        self._slow += slow

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
