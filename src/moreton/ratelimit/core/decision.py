"""One decision over several limits: all of them, or none is charged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from moreton.ratelimit.core.limit import NEVER, Cells, Limit, duration_of

NOT_TAKEN = 0  # no charge was ever made at that moment


@dataclass(frozen=True, slots=True)
class Standing:
    """How one limit stands after a decision; `wait_nanos` is what it asked to wait, or `NEVER`."""

    limit: Limit
    left: int
    full_in_nanos: int
    wait_nanos: int


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether *cost* may pass, and why not, and when.

    A decision that is `allowed` may ask for a `delay` first: the turn is taken, for whoever asked.
    One that is not has charged nothing. `refused_by` names the limit that is free last, and
    `retry_in` says when asking again can help: `None` for a cost that can never pass.
    `taken` are the moments of the charges and `keys` whose they are, for whoever gives them back.
    `degraded`: the store could not be asked, and the rule for that case decided.
    """

    allowed: bool
    cost: int
    delay_nanos: int
    retry_nanos: int
    refused_by: str | None
    standings: tuple[Standing, ...]
    taken: tuple[int, ...] = ()
    keys: tuple[str, ...] = ()
    degraded: bool = False

    def __bool__(self) -> bool:
        return self.allowed

    @property
    def delay(self) -> timedelta:
        """How long to wait before going on."""
        return duration_of(self.delay_nanos)

    @property
    def retry_in(self) -> timedelta | None:
        """When asking again can help."""
        return None if self.retry_nanos == NEVER else duration_of(self.retry_nanos)

    @property
    def left(self) -> int:
        """How many more of cost 1 would pass now: the least of all limits."""
        return min((one.left for one in self.standings), default=0)

    def explain(self) -> str:
        """One line for people: which limit, why, and when it is free."""
        if self.allowed:
            wait = f" after {self.delay_nanos / 1e9:.3g} s" if self.delay_nanos else ""
            return f"allowed{wait}: {self.left} left"
        if self.degraded:
            return "refused: the store of the limits could not be asked"
        if self.retry_nanos == NEVER:
            return f"refused by {self.refused_by}: a cost of {self.cost} is above it, at any time"
        return f"refused by {self.refused_by}: free in {self.retry_nanos / 1e9:.3g} s"


def decide(
    limits: Sequence[Limit],
    states: Sequence[Cells],
    nows: Sequence[int],
    cost: int = 1,
    *,
    patience: int = 0,
    share: float = 1.0,
    keys: tuple[str, ...] = (),
) -> Decision:
    """Whether *cost* may pass all *limits*; charges all of them, or none.

    *nows* is the present of each limit's own time. A limit that can be taken ahead may ask to wait
    up to *patience* nanoseconds: the turn is then charged at the moment when it comes. *share* in
    (0, 1] is what of each quota this request may use: the rest stays for more critical ones.
    """
    delay, retry, refused_by, never = 0, 0, None, None
    waits = []
    for limit, cells, now in zip(limits, states, nows, strict=True):
        wait = limit.wait(cells, now, cost + reserved(limit, share))
        waits.append(wait)
        bearable = (limit.patience_nanos or patience) if limit.reservable else 0
        if wait == NEVER:
            never = never or limit.name
        elif wait <= bearable:
            delay = max(delay, wait)
        elif wait - bearable > retry:
            retry, refused_by = wait - bearable, limit.name
    if never is not None:
        retry, refused_by = NEVER, never
    taken: tuple[int, ...] = ()
    if refused_by is None:
        # A window counts a request where it was asked for; a turn is taken where it comes.
        taken = tuple(
            now + delay if limit.reservable else now
            for limit, now in zip(limits, nows, strict=True)
        )
        # Who only asks begins no window.
        for limit, cells, moment in zip(limits, states, taken, strict=True):
            if cost:
                limit.take(cells, moment, cost)
    else:
        delay = 0
    standings = _standings(limits, states, nows, waits)
    return Decision(refused_by is None, cost, delay, retry, refused_by, standings, taken, keys)


def owe(
    limits: Sequence[Limit],
    states: Sequence[Cells],
    nows: Sequence[int],
    cost: int,
    keys: tuple[str, ...] = (),
) -> Decision:
    """Charge *cost* after the fact, whether it is there or not."""
    for limit, cells, now in zip(limits, states, nows, strict=True):
        if cost:
            limit.take(cells, now, cost)
    standings = _standings(limits, states, nows, [0] * len(limits))
    return Decision(
        allowed=True,
        cost=cost,
        delay_nanos=0,
        retry_nanos=0,
        refused_by=None,
        standings=standings,
        taken=tuple(nows),
        keys=keys,
    )


def return_cost(
    limits: Sequence[Limit],
    states: Sequence[Cells],
    nows: Sequence[int],
    decision: Decision,
    cost: int,
) -> None:
    """Give back *cost* of what *decision* took."""
    for limit, cells, now, taken in zip(limits, states, nows, decision.taken, strict=True):
        if taken != NOT_TAKEN:
            limit.give(cells, now, cost, taken)


def _standings(
    limits: Sequence[Limit], states: Sequence[Cells], nows: Sequence[int], waits: Sequence[int]
) -> tuple[Standing, ...]:
    return tuple(
        Standing(limit, limit.left(cells, now), limit.full_in(cells, now), wait)
        for limit, cells, now, wait in zip(limits, states, nows, waits, strict=True)
    )


def reserved(limit: Limit, share: float) -> int:
    """What of the quota stays for others when a request may use only *share* of it."""
    quota = limit.present_quota
    return 0 if share >= 1 else quota - max(1, int(quota * share))
