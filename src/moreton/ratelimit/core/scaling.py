"""A share of a limit: for a process that decides alone, or a gateway that is one of several."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction

from moreton.kernel.arguments import check_number
from moreton.kernel.quantities import Rate
from moreton.ratelimit.core.bucket import TokenBucket
from moreton.ratelimit.core.calendar import CalendarWindow
from moreton.ratelimit.core.gcra import Gcra, LeakyBucket
from moreton.ratelimit.core.limit import Limit
from moreton.ratelimit.core.rings import AnsweredWindow, Concurrency, SlidingLog
from moreton.ratelimit.core.windows import FixedWindow, SlidingCounter


def scaled(limit: Limit, share: float) -> Limit:
    """*limit* with *share* in (0, 1] of its rate and of its quota, and the same name.

    Of what cannot be divided one is left: the shares of many may then be more than the whole.
    """
    check_number("share", share, 0, 1, "it is a share of the limit", above=True)
    quota = max(1, int(limit.quota * share))
    match limit:
        case LeakyBucket():
            queue = max(1, int(limit.queue * share))
            return LeakyBucket(_rate(limit, share), queue, name=limit.name)
        case Gcra():
            return Gcra(_rate(limit, share), quota, name=limit.name)
        case TokenBucket():
            # As much at a time, less often, where there is little to divide.
            refill = max(1, int(limit.refill * share))
            longer = Fraction(refill, limit.refill) / Fraction(share)
            every = timedelta(microseconds=float(limit.every * longer / 1000))
            return TokenBucket(max(quota, refill), refill, every, name=limit.name)
        case FixedWindow() | SlidingCounter() | SlidingLog():
            per = timedelta(microseconds=limit.period_nanos // 1000)
            return type(limit)(Rate(quota, per), name=limit.name)
        case CalendarWindow():
            return CalendarWindow(quota, limit.span, zone=limit.zone, name=limit.name)
        case Concurrency():
            return _scaled_work(limit, quota)
    raise TypeError(f"{limit!r} cannot be divided")


def _scaled_work(limit: Concurrency, quota: int) -> Limit:
    hold = timedelta(microseconds=limit.hold // 1000)
    if isinstance(limit, AnsweredWindow):
        rate = Rate(quota, timedelta(microseconds=limit.gap // 1000))
        return AnsweredWindow(rate, hold=hold, name=limit.name)
    return Concurrency(quota, hold=hold, name=limit.name)


def _rate(limit: Gcra, share: float) -> Rate:
    """One in the interval of *limit*, that much longer."""
    return Rate(share, timedelta(microseconds=limit.interval / 1000))
