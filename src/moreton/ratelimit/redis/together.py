"""One decision over the limits of several limiters: one trip, and all are charged, or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from moreton.ratelimit.core.decision import Decision
from moreton.ratelimit.core.limit import Limit
from moreton.ratelimit.limiter import Question
from moreton.ratelimit.redis.script import MOMENTS, script_for
from moreton.ratelimit.redis.wire import Arguments, Script, arguments_of

_HEAD = 4  # what a reply says of the whole decision
_ROW = 3  # and of each limit
_SCRIPTS_MAX = 64


@dataclass(frozen=True, slots=True)
class Part:
    """What one limiter has to do with it; *known* is what it says without asking."""

    limits: tuple[Limit, ...]
    known: Decision | None
    names: Sequence[bytes]
    moments: Sequence[int] | None  # what the script for moments is told, if that will do
    numbers: Callable[[], list[Any]]  # what the other one is told, by the clock of now
    is_skewed: Callable[[Any], bool]
    after: Callable[[Sequence[Any]], Decision]
    failed: Callable[[Exception], Decision]


class Joint:
    """The question about all of *parts*, each of which costs *cost*, and what its answer means.

    Decisions are in the order of the parts; `None` where nothing was charged as another refuses.
    """

    def __init__(self, parts: Sequence[Part], cost: int, at: int) -> None:
        """*at* is the time to decide at, in nanoseconds; 0: the server's."""
        self._parts = parts
        self._asked = [part for part in parts if part.known is None]
        self._cost = cost
        self._micros = at // 1000
        self._brief = all(part.moments is not None for part in self._asked)
        self.names = [name for part in self._asked for name in part.names]

    @property
    def known(self) -> list[Decision | None] | None:
        """What can be said without asking."""
        for place, part in enumerate(self._parts):
            if part.known is not None and not part.known.allowed:
                return [part.known if at == place else None for at in range(len(self._parts))]
        return None if self._asked else [part.known for part in self._parts]

    @property
    def repeats(self) -> bool:
        """Whether two parts have one count: the script would charge it once."""
        return len(set(self.names)) < len(self.names)

    @property
    def script(self) -> Script:
        """What the server is to do."""
        if self._brief:
            return MOMENTS
        return _script(tuple(limit for part in self._asked for limit in part.limits))

    def arguments(self) -> Arguments:
        """What the script is told."""
        found: list[Any] = [self._cost, 0, self._micros]
        if self._brief:
            found += [0, *(one for part in self._asked for one in part.moments or ())]
        else:
            found = ["decide", *found, *(one for part in self._asked for one in part.numbers())]
        return arguments_of(found)

    def is_skewed(self, reply: Any) -> bool:
        """Whether windows of the calendar have to be named around the server's time."""
        skewed = False
        for part in self._asked:  # each of them is told
            skewed = part.is_skewed(reply) or skewed
        return skewed

    def after(self, reply: Sequence[Any]) -> list[Decision | None]:
        """What *reply* says."""
        refused, first, row = int(reply[0]), 0, _HEAD
        found: list[Decision | None] = []
        for part in self._parts:
            if part.known is not None:
                found.append(None if refused else part.known)
                continue
            count = len(part.limits)
            own = refused - first if first < refused <= first + count else 0
            rows = reply[row : row + _ROW * count]
            decision = part.after([own, *reply[1:_HEAD], *rows])
            found.append(decision if own or not refused else None)
            first, row = first + count, row + _ROW * count
        return found

    def failed(self, error: Exception) -> list[Decision | None]:
        """What is decided as asking failed by *error*: by each as it has it."""
        return [part.known or part.failed(error) for part in self._parts]


def one_by_one(questions: Sequence[Question]) -> list[Decision | None]:
    """As if each were asked alone, up to the first that refuses; what was charged stays."""
    found: list[Decision | None] = []
    for one in questions:
        decision = one.limiter.decide(one.keys, one.cost, share=one.share)
        found.append(decision)
        if not decision.allowed:
            break
    return found + [None] * (len(questions) - len(found))


async def one_by_one_async(questions: Sequence[Question]) -> list[Decision | None]:
    """As `one_by_one`."""
    found: list[Decision | None] = []
    for one in questions:
        decision = await one.limiter.decide_async(one.keys, one.cost, share=one.share)
        found.append(decision)
        if not decision.allowed:
            break
    return found + [None] * (len(questions) - len(found))


@lru_cache(_SCRIPTS_MAX)
def _script(limits: tuple[Limit, ...]) -> Script:
    return script_for(limits)
