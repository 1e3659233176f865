"""Whether to try again, and after how long: one series of attempts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from moreton.kernel.rng import Rng
from moreton.resilience.core.backoff import Backoff, Jitter
from moreton.resilience.core.budget import Budget

# Source: RFC 9110, section 9.2.2.
IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})
# Overload, and a gateway that could not reach the service. A 500 is an answer of the application.
RETRIABLE_STATUSES = frozenset({429, 502, 503, 504})


class Stop(StrEnum):
    """Why there is no further attempt."""

    NOT_RETRIABLE = "not-retriable"  # the error is not one of those to retry on
    MAY_HAVE_BEEN_SENT = "may-have-been-sent"  # and repeating it might do it twice
    ATTEMPTS = "attempts"
    DEADLINE = "deadline"
    BUDGET = "budget"
    TOLD_NOT_TO = "told-not-to"  # a layer behind, or a proxy in between, retries already


_ATTEMPTS = Stop.ATTEMPTS  # looked up once


@dataclass(frozen=True, slots=True)
class SeriesPolicy:
    """The values that decide a series; `Retry` checks them."""

    attempts: int
    backoff: Backoff
    floor_max: float  # seconds: what a server may ask for at most


class Series:
    """One call with its retries."""

    __slots__ = ("_previous", "attempt", "policy")

    def __init__(self, policy: SeriesPolicy) -> None:
        self.policy = policy
        self.attempt = 1
        self._previous = 0.0

    def next(
        self, floor: float, now: float, deadline: float, budget: Budget | None, rng: Rng
    ) -> float | Stop:
        """The wait before the next attempt, in seconds, or why there is none.

        Never a wait that reaches *deadline*. What the server asked to wait is a *floor*: the jitter
        comes on top of it, so that those who were told the same do not return together.
        """
        policy = self.policy
        if self.attempt >= policy.attempts:
            return _ATTEMPTS
        wait = policy.backoff.seconds(self.attempt, rng, self._previous)
        if floor > 0:
            floor = min(floor, policy.floor_max)
            if wait < floor:
                wait = floor if policy.backoff.jitter is Jitter.NONE else floor + wait
        if now + wait >= deadline:
            return Stop.DEADLINE
        if budget is not None and not budget.withdraw(now):
            return Stop.BUDGET
        self.attempt += 1
        self._previous = wait
        return wait


def schedule(backoff: Backoff, attempts: int) -> list[tuple[float, float, float]]:
    """When each attempt begins after the first one began, if each failed at once.

    Earliest, mean, latest, in seconds, for attempts 1 to *attempts*.
    """
    rows = [(0.0, 0.0, 0.0)]
    for retry in range(1, attempts):
        earliest, mean, latest = backoff.bounds(retry)
        before = rows[-1]
        rows.append((before[0] + earliest, before[1] + mean, before[2] + latest))
    return rows
