"""The words in which Redis is asked, and what its answer means."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from moreton.ratelimit.core.bucket import TokenBucket
from moreton.ratelimit.core.calendar import CalendarWindow
from moreton.ratelimit.core.decision import Decision, Standing, reserved
from moreton.ratelimit.core.gcra import Gcra, LeakyBucket
from moreton.ratelimit.core.limit import NEVER, Limit
from moreton.ratelimit.core.rings import AnsweredWindow, Concurrency, SlidingLog
from moreton.ratelimit.core.windows import FixedWindow, SlidingCounter


@dataclass(frozen=True, slots=True)
class Script:
    """What the server is to do, and what it knows it by."""

    text: str
    digest: str


def _script(name: str) -> Script:
    text = resources.files("moreton.ratelimit.redis").joinpath(name).read_text("utf-8")
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


ANY = _script("decide.lua")
MOMENTS = _script("moments.lua")
# The server's clock is in no window that was named: they are named anew around its time.
OTHER_TIME = -2


def check_supported(limit: Limit) -> None:
    """Raise `TypeError` for a limit that the script does not know."""
    if type(limit) not in _WORDS and not isinstance(limit, CalendarWindow):
        raise TypeError(f"{limit!r} is not kept in Redis: take another limit, or a LocalLimiter")


def words(limit: Limit, calendar: int) -> tuple[str, list[int]]:
    """The kind of *limit* and its numbers; *calendar* is about the server's time."""
    if isinstance(limit, CalendarWindow):
        return "window", [limit.quota, 0, *_edges(limit, calendar)]
    kind, numbers = _WORDS[type(limit)]
    return kind, [limit.quota, *numbers(limit)]


def _period(limit: Limit) -> list[int]:
    return [limit.period_nanos // 1000]


# How the script calls each limit, and what it is told of it after the quota.
_WORDS: dict[type[Limit], tuple[str, Callable[[Any], list[int]]]] = {
    Gcra: ("moment", lambda one: [one.interval, one.tolerance, 0]),
    LeakyBucket: ("moment", lambda one: [one.interval, one.tolerance, one.period_nanos]),
    TokenBucket: ("bucket", lambda one: [one.refill, one.every // 1000]),
    FixedWindow: ("window", _period),
    SlidingCounter: ("counter", _period),
    SlidingLog: ("log", _period),
    Concurrency: ("work", lambda one: [one.hold // 1000, 0]),
    AnsweredWindow: ("work", lambda one: [one.hold // 1000, one.gap // 1000]),
}


def _edges(limit: CalendarWindow, calendar: int) -> list[int]:
    """The beginnings of the windows before, at and after *calendar*, and the end; microseconds."""
    begin, end = limit.bounds(calendar)
    before, _ = limit.bounds(begin - 1)
    _, after = limit.bounds(end)
    return [before // 1000, begin // 1000, end // 1000, after // 1000]


def arguments(
    limits: Sequence[Limit],
    calendar: int,
    *,
    what: str,
    cost: int,
    patience: int = 0,
    share: float = 1.0,
    taken: Sequence[int] = (),
    at: int = 0,
) -> list[Any]:
    """What the script is given; *patience*, *taken* and *at* in nanoseconds."""
    found: list[Any] = [what, cost, patience // 1000, at // 1000]
    for number, limit in enumerate(limits):
        kind, numbers = words(limit, calendar)
        moment = taken[number] // 1000 if taken else 0
        found += [kind, reserved(limit, share), moment, len(numbers), *numbers]
    return found


def moment_arguments(limits: Sequence[Limit], share: float) -> list[int] | None:
    """What the script for moments is told of *limits*; `None` where another one is needed."""
    found: list[int] = []
    for limit in limits:
        if type(limit) not in {Gcra, LeakyBucket}:
            return None
        _, numbers = words(limit, 0)
        found += [reserved(limit, share), *numbers]
    return found


def decision_of(
    reply: Sequence[Any], limits: Sequence[Limit], keys: tuple[str, ...], cost: int
) -> Decision:
    """What *reply* says."""
    refused, now = int(reply[0]), int(reply[1]) * 1000
    delay, retry = int(reply[2]) * 1000, int(reply[3])
    rows = [reply[place : place + 3] for place in range(4, len(reply), 3)]
    standings = tuple(
        Standing(
            limit, int(left), int(full) * 1000, NEVER if int(wait) == NEVER else int(wait) * 1000
        )
        for limit, (left, full, wait) in zip(limits, rows, strict=True)
    )
    taken: tuple[int, ...] = ()
    if not refused:
        taken = tuple(now + delay if limit.reservable else now for limit in limits)
    return Decision(
        allowed=not refused,
        cost=cost,
        delay_nanos=delay,
        retry_nanos=NEVER if retry == NEVER else retry * 1000,
        refused_by=limits[refused - 1].name if refused else None,
        standings=standings,
        taken=taken,
        keys=keys,
    )
