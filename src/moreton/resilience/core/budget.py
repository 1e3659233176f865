"""A retry budget: retries in proportion to calls, so that they cannot multiply an outage."""

from __future__ import annotations

from dataclasses import dataclass

from moreton.resilience.core.windows import TimeWindow

_WINDOW_SECONDS = 10.0
_BUCKETS = 10


@dataclass(frozen=True, slots=True)
class BudgetStatistics:
    """What happened within the window, and since the beginning."""

    calls: int
    retries: int
    allowed: float
    refused_total: int


class Budget:
    """At most *share* retries per call, or *per_second* if that is more, over ten seconds.

    Source: Finagle's RetryBudget; Google SRE book, "Handling Overload".
    """

    __slots__ = ("_refused", "_reserve", "_window", "deposit", "per_second", "share")

    def __init__(self, share: float, per_second: float) -> None:
        self.share = share
        self.per_second = per_second
        self._window = TimeWindow(_WINDOW_SECONDS, _BUCKETS)
        self._reserve = per_second * _WINDOW_SECONDS
        self._refused = 0
        self.deposit = self._window.success  # a call begins, at a moment

    def withdraw(self, now: float) -> bool:
        """Whether a retry may be made; it counts from now on."""
        calls, retries, _ = self._window.counts(now)
        if retries + 1 > self._allowed(calls):
            self._refused += 1
            return False
        self._window.add_failure(now)
        return True

    def statistics(self, now: float) -> BudgetStatistics:
        """The state at *now*."""
        calls, retries, _ = self._window.counts(now)
        return BudgetStatistics(calls, retries, self._allowed(calls), self._refused)

    def _allowed(self, calls: int) -> float:
        return max(self._reserve, self.share * calls)
