"""Sees to it that what reaches a system arrives at a rate that it can take.

Use it where others call you, to share what there is and to keep a flood out, and where you call
others that allow so much and no more. Not to bound how many calls run at a time in one process (a
`moreton.resilience.Bulkhead` does that), and not for locks (`moreton.election`).

Guarantees: a decision over several limits charges all of them, or none; a limit never admits more
than it says in any window, whatever clock, thread or process asks; who is refused learns which
limit it was and when it is free; memory is bounded, and who is forgotten had its whole quota::

    limiter = LocalLimiter(Gcra("100/s", burst=20), CalendarWindow(10_000, "day"))

    decision = limiter.decide("tenant-7", cost=3)
    if not decision:
        print(decision.explain())  # refused by 100/s: free in 0.03 s

    @limiter.limit(key=lambda article: article)
    def stock(article: str) -> int: ...
"""

from moreton.ratelimit.core.bucket import TokenBucket
from moreton.ratelimit.core.calendar import CalendarWindow
from moreton.ratelimit.core.decision import Decision
from moreton.ratelimit.core.gcra import Gcra, LeakyBucket
from moreton.ratelimit.core.rings import (
    AdaptiveConcurrency,
    AnsweredWindow,
    Concurrency,
    SlidingLog,
)
from moreton.ratelimit.core.windows import FixedWindow, SlidingCounter
from moreton.ratelimit.errors import RateLimited
from moreton.ratelimit.limiter import Limiter
from moreton.ratelimit.local import LocalLimiter

__all__ = [
    "AdaptiveConcurrency",
    "AnsweredWindow",
    "CalendarWindow",
    "Concurrency",
    "Decision",
    "FixedWindow",
    "Gcra",
    "LeakyBucket",
    "Limiter",
    "LocalLimiter",
    "RateLimited",
    "SlidingCounter",
    "SlidingLog",
    "TokenBucket",
]
