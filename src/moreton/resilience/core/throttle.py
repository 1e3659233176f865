"""Client-side throttling: a client whose calls are refused stops making most of them itself."""

from __future__ import annotations

from dataclasses import dataclass

from moreton.kernel.rng import Rng
from moreton.resilience.core.windows import TimeWindow

_BUCKETS = 12


@dataclass(frozen=True, slots=True)
class ThrottleStatistics:
    """Calls wanted and accepted in the window, and the share that is held back now."""

    requests: int
    accepts: int
    held_back: float
    refused_total: int


class Throttle:
    """Holds back a share of max(0, (requests - *k* * accepts) / (requests + 1)) of the calls.

    Calls that were held back count as requests, and every call counts before it is made.

    Source: Google SRE book, "Handling Overload", client-side throttling.
    """

    __slots__ = ("_refused", "_window", "k")

    def __init__(self, k: float, seconds: float) -> None:
        self.k = k
        self._window = TimeWindow(seconds, _BUCKETS)
        self._refused = 0

    def admit(self, now: float, rng: Rng) -> bool:
        """Whether a call may be made at *now*; it counts as wanted either way."""
        requests, accepts = self._counts(now)
        share = self._share(requests, accepts)
        self._window.success(now)
        if share > 0 and rng.random() < share:
            self._window.add_failure(now)
            self._refused += 1
            return False
        return True

    def overloaded(self, now: float) -> None:
        """The destination refused a call that was made."""
        self._window.add_failure(now)

    def statistics(self, now: float) -> ThrottleStatistics:
        """The state at *now*."""
        requests, accepts = self._counts(now)
        return ThrottleStatistics(requests, accepts, self._share(requests, accepts), self._refused)

    def _counts(self, now: float) -> tuple[int, int]:
        """Requests and accepts in the window."""
        requests, refused, _ = self._window.counts(now)
        # A refusal may come when its call has left the window already.
        return requests, max(0, requests - refused)

    def _share(self, requests: int, accepts: int) -> float:
        return max(0.0, (requests - self.k * accepts) / (requests + 1))
