"""Who is over a limit, remembered: one that floods costs no trip to the store."""

from __future__ import annotations

from collections.abc import Sequence

from moreton.ratelimit.core.limit import NEVER
from moreton.ratelimit.rls.core.settling import Ask, Settled, Verdict

REMEMBERED_MAX = 10_000
# Another server that gives something back is seen so late at most.
REMEMBERED_NANOS_MAX = 1_000_000_000
# All are looked through for those that have ended, which takes a millisecond, so often at most.
SWEEP_NANOS = 100_000_000
# A clock that is not the store's may be so much ahead: sooner asked than wrongly refused.
_EARLY_NANOS = 1_000_000


class OverLimits:
    """Remembers limits of which nothing is left, each until something is."""

    def __init__(self) -> None:
        # Until when it is remembered, until when that cost is too much, and which cost.
        self._until: dict[tuple[str, str, str], tuple[int, int, int]] = {}
        self._sweep_at = 0

    def __len__(self) -> int:
        return len(self._until)

    def find(self, domain: str, asks: Sequence[Ask], now: int) -> Settled | None:
        """The refusal of a request of which one descriptor is known to be over."""
        if not self._until or not any(self._known(domain, ask, now) for ask in asks):
            return None
        if any(ask.report or ask.cost < 0 for ask in asks):
            return None
        verdicts = []
        for ask in asks:
            end = self._known(domain, ask, now)
            wait = end - now if end else 0
            verdicts.append(Verdict(bool(end), 0, 0, wait, wait))
        return Settled(tuple(verdicts), refused=True)

    def add(self, domain: str, asks: Sequence[Ask], settled: Settled, now: int) -> None:
        """Note who was over in *settled*, that was asked for at *now*."""
        for ask, verdict in zip(asks, settled.verdicts, strict=True):
            if not verdict.over or verdict.left or verdict.wait_nanos in {0, NEVER}:
                continue
            if ask.shadow or ask.quota or ask.cost + ask.reserve <= 0:
                continue
            end = now + verdict.wait_nanos - ask.bearable - _EARLY_NANOS
            if len(self._until) >= REMEMBERED_MAX and now >= self._sweep_at:
                self._sweep_at = now + SWEEP_NANOS
                self._until = {key: one for key, one in self._until.items() if one[0] > now}
            if len(self._until) < REMEMBERED_MAX:
                until = min(end, now + REMEMBERED_NANOS_MAX)
                self._until[domain, ask.limit.name, ask.key] = until, end, ask.cost + ask.reserve

    def _known(self, domain: str, ask: Ask, now: int) -> int:
        """Until when *ask* is over; 0 when it is not known to be."""
        amount = ask.cost + ask.reserve
        if amount <= 0 or ask.shadow or ask.quota:
            return 0
        found = self._until.get((domain, ask.limit.name, ask.key))
        return found[1] if found and now < found[0] and amount >= found[2] else 0
