"""Adaptive concurrency and client-side throttling as layers: both learn what a callee can take."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from threading import Lock

from moreton.kernel.arguments import check_duration, check_kind, check_number
from moreton.kernel.quantities import format_duration
from moreton.kernel.rng import Rng, system_rng
from moreton.resilience.context import criticality_var
from moreton.resilience.core.headers import Criticality
from moreton.resilience.core.limits import ConcurrencyLimit, Gradient2
from moreton.resilience.core.throttle import Throttle, ThrottleStatistics
from moreton.resilience.errors import LimitReached, Refused, Throttled
from moreton.resilience.events import CallRefused, emit, listeners
from moreton.resilience.kinds import Kinds, predicate
from moreton.resilience.layers.layer import Gate
from moreton.resilience.sent import status_of
from moreton.resilience.timing import SYSTEM, Timing

# The share of the limit that each level may fill: the least critical is refused first.
SHARES = {
    Criticality.CRITICAL_PLUS: 1.0,
    Criticality.CRITICAL: 0.95,
    Criticality.SHEDDABLE_PLUS: 0.8,
    Criticality.SHEDDABLE: 0.6,
}


@dataclass(frozen=True, slots=True)
class AdaptiveStatistics:
    """An adaptive limit at one moment."""

    limit: int
    under_way: int
    refused_total: int


def is_overload(error: BaseException) -> bool:
    """The default: time-outs, and answers 429, 503 and 504."""
    return isinstance(error, TimeoutError) or status_of(error) in {429, 503, 504}


class AdaptiveLimit(Gate):
    """Lets as many calls be under way as the callee can take, learned from their times.

    *limit* is a `Gradient2` (default) or a `Vegas`. The less critical a call is, the smaller the
    share of the limit that it may fill. *dropped* tells which errors mean overload.
    """

    def __init__(
        self,
        limit: ConcurrencyLimit | None = None,
        *,
        name: str = "adaptive limit",
        dropped: Kinds = is_overload,
        timing: Timing = SYSTEM,
    ) -> None:
        self.name = name
        self._limit = Gradient2() if limit is None else limit
        check_kind("limit", self._limit, ConcurrencyLimit, "a Gradient2(…) or a Vegas(…)")
        self._dropped = predicate("dropped", dropped)
        self._timing = timing
        self._lock = Lock()
        self._under_way = 0
        self._refused = 0

    def enter(self) -> tuple[float, int]:
        """Let a call in; raises `LimitReached`."""
        share = SHARES[criticality_var.get()]
        with self._lock:
            # One call may always be made, or nothing would be learned.
            if self._under_way < max(1, int(self._limit.limit * share)):
                self._under_way += 1
                return self._timing.now(), self._under_way
            self._refused += 1
        if listeners:
            emit(CallRefused(self.name, LimitReached.code))
        raise LimitReached(
            f'"{self.name}": {self._under_way} calls are under way, as many as the destination '
            "takes at present: the call was not made; try again later"
        )

    def leave(self, entered: tuple[float, int], error: BaseException | None) -> None:
        """Learn from how the call ended."""
        start, under_way = entered
        with self._lock:
            self._under_way -= 1
            if error is None:
                self._limit.sample(self._timing.now() - start, under_way, dropped=False)
            elif isinstance(error, Exception) and self._dropped(error):
                self._limit.sample(self._timing.now() - start, under_way, dropped=True)

    def statistics(self) -> AdaptiveStatistics:
        """The state now."""
        return AdaptiveStatistics(self._limit.limit, self._under_way, self._refused)

    def describe(self) -> str:
        """How it learns, and its range."""
        limit = self._limit
        return (
            f"between {limit.lowest} and {limit.highest} calls at a time, learned from their "
            f"times ({type(limit).__name__})"
        )


class ClientThrottle(Gate):
    """Holds back calls in proportion to how many the destination refuses.

    A share of max(0, (requests - *k* * accepts) / (requests + 1)) of them, over *window*: with the
    default of 2 a destination that refuses all still gets about as many calls as it accepted.
    *refused* tells which errors are refusals of the destination.

    Source: Google SRE book, "Handling Overload".
    """

    def __init__(
        self,
        k: float = 2.0,
        *,
        window: timedelta = timedelta(minutes=2),
        name: str = "throttle",
        refused: Kinds = is_overload,
        timing: Timing = SYSTEM,
        rng: Rng | None = None,
    ) -> None:
        check_number("k", k, 1, why="calls would be held back that are accepted")
        check_duration("window", window, "no call would be in it")
        self.name = name
        self.window = window
        self._core = Throttle(k, window.total_seconds())
        self._refused = predicate("refused", refused)
        self._timing = timing
        self._rng = rng or system_rng()
        self._lock = Lock()

    def enter(self) -> None:
        """Let a call through; raises `Throttled`."""
        with self._lock:
            admitted = self._core.admit(self._timing.now(), self._rng)
        if admitted:
            return
        if listeners:
            emit(CallRefused(self.name, Throttled.code))
        raise Throttled(
            f'"{self.name}": the destination refuses most calls: this one was held back; try '
            "again later"
        )

    def leave(self, entered: object, error: BaseException | None) -> None:  # noqa: ARG002 - a gate
        """Count a refusal of the destination."""
        if isinstance(error, Exception) and not isinstance(error, Refused) and self._refused(error):
            with self._lock:
                self._core.overloaded(self._timing.now())

    def statistics(self) -> ThrottleStatistics:
        """The state now."""
        with self._lock:
            return self._core.statistics(self._timing.now())

    def describe(self) -> str:
        """When it holds back, and over what time."""
        return (
            f"holds calls back once fewer than one in {self._core.k:g} of the last "
            f"{format_duration(self.window)} is accepted"
        )
