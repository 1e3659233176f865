"""What every store does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from moreton.ratelimit.clocks import SYSTEM, LimitClock
from moreton.ratelimit.core.calendar import CalendarWindow
from moreton.ratelimit.core.limit import Limit
from moreton.ratelimit.core.windows import FixedWindow, SlidingCounter
from moreton.ratelimit.rls.core.settling import Ask, Settled

KEYS_MAX = 100_000


class Store(ABC):
    """Keeps what was counted; a count is known by its limit's identity and its key.

    The quota of a limit is no part of its identity: one that is changed goes on with its counts.
    """

    def __init__(self, clock: LimitClock = SYSTEM) -> None:
        self.clock = clock

    @abstractmethod
    async def settle(self, domain: str, asks: Sequence[Ask]) -> Settled:
        """See `moreton.ratelimit.rls.core.settling.settle`; atomic among all who share the store.

        Raises `LimitStoreUnavailable`.
        """

    def check(self, limit: Limit) -> None:  # noqa: B027 - most keep every limit
        """Raise `TypeError` for a limit that is not kept here."""

    async def close(self) -> None:  # noqa: B027 - most have nothing open
        """Leave the store."""

    def nows(self, asks: Sequence[Ask]) -> list[int]:
        """The present of each limit's own time."""
        monotonic, calendar = self.clock.monotonic(), self.clock.calendar()
        return [calendar if ask.limit.on_calendar else monotonic for ask in asks]


def identity(limit: Limit) -> str:
    """What the counts of *limit* are known by, beside their key."""
    kind = f"{type(limit).__name__}:{limit.width}"
    match limit:
        case CalendarWindow():
            return f"{kind}:{limit.span}:{limit.zone}"
        case FixedWindow() | SlidingCounter():
            return f"{kind}:{limit.period_nanos}"
    return kind
