"""How much a rule lets pass: bounds, each of which becomes a limit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta, tzinfo
from enum import StrEnum

from moreton.kernel.quantities import Rate
from moreton.ratelimit.core.bucket import TokenBucket
from moreton.ratelimit.core.calendar import CalendarWindow, Span
from moreton.ratelimit.core.gcra import Gcra, LeakyBucket
from moreton.ratelimit.core.limit import Limit, rate_name
from moreton.ratelimit.core.rings import AdaptiveConcurrency, Concurrency, SlidingLog
from moreton.ratelimit.core.windows import FixedWindow, SlidingCounter


class Algorithm(StrEnum):
    """How a rate is kept; the words of `moreton.yaml`."""

    GCRA = "gcra"
    TOKEN_BUCKET = "token-bucket"  # noqa: S105 - of tokens, not a secret
    LEAKY_BUCKET = "leaky-bucket"
    FIXED_WINDOW = "fixed-window"
    SLIDING_COUNTER = "sliding-counter"
    SLIDING_LOG = "sliding-log"


# What is not there yet can be waited for only with these.
WAITED_FOR = frozenset({Algorithm.GCRA, Algorithm.TOKEN_BUCKET, Algorithm.LEAKY_BUCKET})


@dataclass(frozen=True, slots=True)
class RateBound:
    """A *rate*, of which *burst* may come at once; with a leaky bucket *burst* wait in a queue."""

    rate: Rate
    burst: int
    algorithm: Algorithm = Algorithm.GCRA

    @property
    def most(self) -> int:
        """The largest cost that can ever pass."""
        return self.burst + (self.algorithm is Algorithm.LEAKY_BUCKET)

    @property
    def name(self) -> str:
        """As people write it."""
        return rate_name(self.rate)

    def as_limit(self, name: str) -> Limit:
        """The limit; raises `ValueError` for what cannot be kept."""
        match self.algorithm:
            case Algorithm.GCRA:
                return Gcra(self.rate, self.burst, name=name)
            case Algorithm.LEAKY_BUCKET:
                return LeakyBucket(self.rate, self.burst, name=name)
            case Algorithm.TOKEN_BUCKET:
                # What comes in one period, at once; of a burst that is less, as much as it is.
                refill = min(self.burst, max(1, int(self.rate.count)))
                every = self.rate.per * (refill / self.rate.count)
                return TokenBucket(self.burst, refill, every, name=name)
            case Algorithm.FIXED_WINDOW:
                return FixedWindow(self.rate, name=name)
            case Algorithm.SLIDING_COUNTER:
                return SlidingCounter(self.rate, name=name)
            case Algorithm.SLIDING_LOG:
                return SlidingLog(self.rate, name=name)


@dataclass(frozen=True, slots=True)
class QuotaBound:
    """*count* in each *span* of the calendar in *zone*."""

    count: int
    span: Span
    zone: tzinfo = UTC

    @property
    def most(self) -> int:
        """As `RateBound.most`."""
        return self.count

    @property
    def name(self) -> str:
        """As `RateBound.name`."""
        return f"{self.count}/{self.span}"

    def as_limit(self, name: str) -> Limit:
        """As `RateBound.as_limit`."""
        return CalendarWindow(self.count, self.span, zone=self.zone, name=name)


@dataclass(frozen=True, slots=True)
class WorkBound:
    """*count* at a time; `None`: as many as the work stays fast with."""

    count: int | None

    @property
    def most(self) -> int:
        """As `RateBound.most`."""
        return self.count or 1

    @property
    def name(self) -> str:
        """As `RateBound.name`."""
        return "adaptive" if self.count is None else f"{self.count} at once"

    def as_limit(self, name: str) -> Limit:
        """As `RateBound.as_limit`."""
        if self.count is None:
            return AdaptiveConcurrency(name=name)
        return Concurrency(self.count, name=name)


@dataclass(frozen=True, slots=True)
class AdmissionBound:
    """As much as keeps *success* of the answers from failing: what is beyond is refused at random.

    Looked at over *window*, from *rate_min* requests a second on; never more than *refuse_max* of
    them are refused. For gateways.
    """

    success: float = 0.95
    window: timedelta = timedelta(seconds=30)
    rate_min: int = 5
    refuse_max: float = 0.8

    @property
    def most(self) -> int:
        """As `RateBound.most`."""
        return 1

    @property
    def name(self) -> str:
        """As `RateBound.name`."""
        return f"{self.success * 100:g}% success"


Bound = RateBound | QuotaBound | WorkBound | AdmissionBound
