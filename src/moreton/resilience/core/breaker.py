"""A circuit breaker: a destination that mostly fails is left alone for a while."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from moreton.kernel.arguments import check_duration, check_kind, check_number, check_whole
from moreton.kernel.quantities import format_duration
from moreton.kernel.rng import Rng
from moreton.resilience.core.windows import CountWindow, TimeWindow

_BUCKETS = 10


class BreakerState(StrEnum):
    """Whether calls pass."""

    CLOSED = "closed"  # all
    OPEN = "open"  # none
    HALF_OPEN = "half-open"  # a few, to see


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When a breaker opens and closes again.

    It opens once at least *minimum_calls* are in the window (the last *window* calls when it is a
    number, else those of the last *window*) and the share of failed ones reaches *failure_rate*,
    or that of calls slower than *slow_call* reaches *slow_call_rate*. It stays open for *open_for*
    times a factor uniform in [1, 1 + *jitter*], so that many clients do not return together; then
    at most *permits* calls at a time may try: *successes* of them close it, one failure opens it.

    Raises `ValueError` for values that cannot be meant.

    Source: Nygard, "Release It!", 2007, chapter 5; resilience4j's CircuitBreaker.
    """

    failure_rate: float = 0.5
    window: timedelta | int = 100
    minimum_calls: int = 20
    slow_call: timedelta | None = None
    slow_call_rate: float = 0.5
    open_for: timedelta = timedelta(seconds=5)
    jitter: float = 0.2
    permits: int = 3
    successes: int = 3

    def __post_init__(self) -> None:
        for name in ("failure_rate", "slow_call_rate"):
            check_number(name, getattr(self, name), 0, 1, "it is a share", above=True)
        for name in ("minimum_calls", "permits", "successes"):
            check_whole(name, getattr(self, name), 1)
        check_number("jitter", self.jitter, 0, 1, "it is a share")
        check_duration("open_for", self.open_for, "the breaker would not stay open")
        if self.slow_call is not None:
            check_duration("slow_call", self.slow_call, "every call would be slow")
        self._check_window()

    def _check_window(self) -> None:
        window = self.window
        if isinstance(window, timedelta):
            check_duration("window", window, "no call would be in it")
            return
        check_kind("window", window, int, "a number of calls, or a timedelta")
        if window < self.minimum_calls:
            raise ValueError(
                f"window is {window} calls and minimum_calls {self.minimum_calls}: the breaker "
                "could never open; raise the window or lower the minimum"
            )

    def __str__(self) -> str:
        window = self.window
        over = f"the last {window}" if isinstance(window, int) else format_duration(window)
        slow = ""
        if self.slow_call is not None:
            slow = f" or {self.slow_call_rate:.0%} take over {format_duration(self.slow_call)}"
        return (
            f"opens for {format_duration(self.open_for)} (+{self.jitter:.0%}) when "
            f"{self.failure_rate:.0%} of at least {self.minimum_calls} calls in {over} fail{slow}"
        )


@dataclass(frozen=True, slots=True)
class BreakerStatistics:
    """A breaker at one moment."""

    state: BreakerState
    calls: int
    failed: int
    slow: int
    opened_total: int
    refused_total: int


class Breaker:
    """One breaker's state; a caller holds a lock around everything but what *window* does alone.

    A call is admitted under the *generation* of the breaker, and reports with it: what began
    before the breaker last changed its state says nothing of the present one.
    """

    __slots__ = (
        "_in_trial",
        "_won",
        "generation",
        "opened_total",
        "passing",
        "policy",
        "refused_total",
        "state",
        "until",
        "window",
    )

    def __init__(self, policy: BreakerPolicy) -> None:
        self.policy = policy
        self.state = BreakerState.CLOSED
        self.generation = 1
        self.passing = 1  # the generation while closed, else 0: one look for who is in a hurry
        self.window = _window(policy)
        self.opened_total = 0
        self.refused_total = 0
        self.until = 0.0  # when an open breaker lets calls try again
        self._in_trial = 0
        self._won = 0

    def admit(self, now: float) -> bool:
        """Whether a call may be made at *now*; one that may must report."""
        if self.state is BreakerState.CLOSED:
            return True
        if self.state is BreakerState.OPEN and now >= self.until:
            self._change(BreakerState.HALF_OPEN)
        if self.state is BreakerState.HALF_OPEN and self._in_trial < self.policy.permits:
            self._in_trial += 1
            return True
        return False

    def succeeded(self, generation: int, now: float) -> bool:
        """A call succeeded, and in good time; whether that closed the breaker."""
        if generation == self.passing:
            self.window.success(now)
        elif self._is_trial(generation):
            self._in_trial -= 1
            self._won += 1
            if self._won >= self.policy.successes:
                self.close(now)
                return True
        return False

    def failed(self, generation: int, now: float, rng: Rng) -> bool:
        """A call failed; whether that opened the breaker."""
        if generation == self.passing:
            self.window.failure(now)
            return self._weigh(now, rng)
        return self._lose(generation, now, rng)

    def slow(self, generation: int, now: float, rng: Rng) -> bool:
        """A call succeeded, but took long; whether that opened the breaker."""
        if generation == self.passing:
            self.window.slow(now)
            return self._weigh(now, rng)
        return self._lose(generation, now, rng)

    def _weigh(self, now: float, rng: Rng) -> bool:
        """Open, if what is in the window is bad enough."""
        policy = self.policy
        calls, failed, slow = self.window.counts(now)
        if calls >= policy.minimum_calls and (
            failed >= policy.failure_rate * calls
            or (policy.slow_call is not None and slow >= policy.slow_call_rate * calls)
        ):
            self.open(now, rng)
            return True
        if policy.slow_call is None:
            # Calls in a window only become more: with fewer failures than these it stays closed.
            # Where slow ones count, a failure may be the call that makes them enough.
            enough = math.ceil(policy.failure_rate * max(calls, policy.minimum_calls))
            self.window.look_from(max(failed + 1, enough))
        return False

    def _lose(self, generation: int, now: float, rng: Rng) -> bool:
        """Open, if a trial failed."""
        is_trial = self._is_trial(generation)
        if is_trial:
            self.open(now, rng)
        return is_trial

    def abandoned(self, generation: int) -> None:
        """A call ended without a verdict: it was cancelled."""
        if self._is_trial(generation):
            self._in_trial -= 1

    def open(self, now: float, rng: Rng) -> None:
        """Leave the destination alone, from *now*."""
        policy = self.policy
        length = policy.open_for.total_seconds() * (1 + policy.jitter * rng.random())
        self.until = now + length
        self._change(BreakerState.OPEN)
        self.opened_total += 1

    def close(self, now: float) -> None:
        """Let all calls pass and forget what happened."""
        self._change(BreakerState.CLOSED)
        self.window.reset(now)

    def statistics(self, now: float) -> BreakerStatistics:
        """The state at *now*."""
        calls, failed, slow = self.window.counts(now)
        return BreakerStatistics(
            self.state, calls, failed, slow, self.opened_total, self.refused_total
        )

    def _is_trial(self, generation: int) -> bool:
        return generation == self.generation and self.state is BreakerState.HALF_OPEN

    def _change(self, state: BreakerState) -> None:
        self.state = state
        self.generation += 1
        self.passing = self.generation if state is BreakerState.CLOSED else 0
        self._in_trial = self._won = 0


def _window(policy: BreakerPolicy) -> CountWindow | TimeWindow:
    if isinstance(policy.window, int):
        return CountWindow(policy.window)
    return TimeWindow(policy.window.total_seconds(), _BUCKETS)
