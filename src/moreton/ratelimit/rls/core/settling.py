"""What becomes of a request with several descriptors: one decision, and who is charged for it.

A request that one of them refuses is counted by none of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from moreton.ratelimit.core.limit import NEVER, Cells, Limit
from moreton.ratelimit.core.windows import Windowed


@dataclass(frozen=True, slots=True)
class Ask:
    """What one descriptor asks of *limit* for *key*; a *cost* below 0 gives back, 0 only looks.

    So much as *reserve* has to be left beside it, and is not charged. What is given back was
    charged at *taken*, if that is known. The rest is as of a `Threshold`.
    """

    limit: Limit
    key: str
    cost: int = 1
    shadow: bool = False
    quota: bool = False
    drains: bool = False
    report: bool = False
    patience_nanos: int = 0
    reserve: int = 0
    taken: int = 0

    @property
    def bearable(self) -> int:
        """How long the turn may be away, in nanoseconds."""
        limit = self.limit
        return (limit.patience_nanos or self.patience_nanos) if limit.reservable else 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one descriptor stands: whether it is *over*, what was left before and is left after.

    *wait_nanos* is how long its limit asked to wait, or `NEVER`, and *reset_nanos* when all of it
    is there again: for a window its end.
    """

    over: bool
    left_before: int
    left: int
    reset_nanos: int
    wait_nanos: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """The verdict of each, whether the request is *refused*, and after what *delay* it goes on.

    *moment* is when it was let in, of the clock by which limits count work under way.
    """

    verdicts: tuple[Verdict, ...]
    refused: bool
    delay_nanos: int = 0
    moment: int = field(default=0, compare=False)


def is_refused(roles: Sequence[tuple[bool, bool, bool]]) -> bool:
    """Whether a request is refused whose descriptors are each (over, shadow, quota).

    By one that is over and neither shadow nor quota, or when all of quota are over.
    """
    quotas = [over and not shadow for over, shadow, quota in roles if quota]
    plain = any(over and not shadow and not quota for over, shadow, quota in roles)
    return plain or (bool(quotas) and all(quotas))


def settle(asks: Sequence[Ask], states: Sequence[Cells], nows: Sequence[int]) -> Settled:
    """Decide about *asks* together, and charge in *states*; *nows* is each limit's present.

    Over all *asks* no limit and key may come twice.
    """
    waits = [
        0 if ask.report or ask.cost < 0 else ask.limit.wait(cells, now, ask.cost + ask.reserve)
        for ask, cells, now in zip(asks, states, nows, strict=True)
    ]
    overs = [is_over(ask, wait) for ask, wait in zip(asks, waits, strict=True)]
    refused = is_refused(
        [(over, ask.shadow, ask.quota) for ask, over in zip(asks, overs, strict=True)]
    )
    delay = 0
    if not refused:
        each = zip(asks, waits, overs, strict=True)
        delay = max((wait for ask, wait, over in each if not (over or ask.shadow)), default=0)
    verdicts = []
    for ask, cells, now, wait, over in zip(asks, states, nows, waits, overs, strict=True):
        before = ask.limit.left(cells, now)
        ahead = (wait if ask.shadow else delay) if ask.limit.reservable and not over else 0
        _charge(ask, cells, now, ahead, counted=is_counted(ask, over=over, refused=refused))
        left = ask.limit.left(cells, now)
        verdicts.append(Verdict(over, before, left, reset_of(ask.limit, cells, now), wait))
    plain = zip(asks, nows, strict=True)
    moment = max((now for ask, now in plain if not ask.limit.on_calendar), default=0)
    return Settled(tuple(verdicts), refused, delay, moment)


def is_over(ask: Ask, wait: int) -> bool:
    """Whether a limit that asks to *wait* is over for *ask*."""
    return wait == NEVER or wait > ask.bearable


def is_counted(ask: Ask, *, over: bool, refused: bool) -> bool:
    """Whether *ask* is charged."""
    if ask.report or ask.cost < 0:
        return True
    return ask.drains if over else not refused


def reset_of(limit: Limit, cells: Cells, now: int) -> int:
    """When all of *limit* is there again: of a window its end, used or not."""
    if isinstance(limit, Windowed):
        return limit.full_in(cells, now) or limit.bounds(now)[1] - now
    return limit.full_in(cells, now)


def _charge(ask: Ask, cells: Cells, now: int, ahead: int, *, counted: bool) -> None:
    if not counted or not ask.cost:
        return
    if ask.cost < 0:
        ask.limit.give(cells, now, -ask.cost, ask.taken or now)
    else:
        ask.limit.take(cells, now + ahead, ask.cost)
