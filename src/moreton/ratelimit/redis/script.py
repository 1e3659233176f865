"""The words in which Redis is asked, and what its answer means."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

from moreton.ratelimit.core.bucket import TokenBucket
from moreton.ratelimit.core.calendar import CalendarWindow
from moreton.ratelimit.core.decision import Decision, Standing, reserved
from moreton.ratelimit.core.gcra import Gcra, LeakyBucket
from moreton.ratelimit.core.limit import NEVER, Limit
from moreton.ratelimit.core.rings import AnsweredWindow, Concurrency, SlidingLog
from moreton.ratelimit.core.windows import FixedWindow, SlidingCounter
from moreton.ratelimit.redis.wire import Script


def _script(name: str) -> Script:
    return _known(resources.files("moreton.ratelimit.redis").joinpath(name).read_text("utf-8"))


def _known(text: str) -> Script:
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


ANY = _script("decide.lua")
_SECTION = re.compile(r"^--- (\w+)\n", re.MULTILINE)
MOMENTS = _script("moments.lua")
WINDOWS = _script("windows.lua")
# The whole of a brief answer, where nothing refuses.
ALLOWED = 0
# The server's clock is in no window that was named: they are named anew around its time.
OTHER_TIME = -2


def script_for(limits: Sequence[Limit]) -> Script:
    """The script that knows the kinds of *limits* alone: the others would be half of its time."""
    head, *rest = _SECTION.split(ANY.text)
    wanted = {words(limit, 0)[0] for limit in limits} | {"all"}
    parts = [text for kind, text in zip(rest[::2], rest[1::2], strict=True) if kind in wanted]
    return _known("".join([head, *parts]))


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


def numbers_of(
    limits: Sequence[Limit], calendar: int, share: float = 1.0, taken: Sequence[int] = ()
) -> list[Any]:
    """What the script is told of *limits*; *calendar* and *taken* in nanoseconds."""
    found: list[Any] = []
    for number, limit in enumerate(limits):
        kind, numbers = words(limit, calendar)
        moment = taken[number] // 1000 if taken else 0
        found += [kind, reserved(limit, share), moment, len(numbers), *numbers]
    return found


def window_arguments(limits: Sequence[Limit], share: float) -> list[int] | None:
    """What the script for fixed windows is told of *limits*; `None` where another is needed."""
    found: list[int] = []
    for limit in limits:
        if type(limit) is not FixedWindow:
            return None
        _, numbers = words(limit, 0)
        found += [reserved(limit, share), *numbers]
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
    refused, now, delay, retry = reply[0], int(reply[1]) * 1000, reply[2] * 1000, reply[3]
    standings = tuple(
        [
            Standing(limit, reply[at], reply[at + 1] * 1000, _nanos(reply[at + 2]))
            for limit, at in zip(limits, range(4, len(reply), 3), strict=True)
        ]
    )
    taken: tuple[int, ...] = ()
    if not refused:
        taken = tuple([now + delay if limit.reservable else now for limit in limits])
    return Decision(
        allowed=not refused,
        cost=cost,
        delay_nanos=delay,
        retry_nanos=_nanos(retry),
        refused_by=limits[refused - 1].name if refused else None,
        standings=standings,
        taken=taken,
        keys=keys,
    )


def _nanos(micros: int) -> int:
    return NEVER if micros == NEVER else micros * 1000
