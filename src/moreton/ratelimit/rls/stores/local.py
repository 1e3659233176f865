"""Counts of this process alone."""

from __future__ import annotations

from collections.abc import Sequence

from moreton.kernel.arguments import check_whole
from moreton.ratelimit.clocks import SYSTEM, LimitClock
from moreton.ratelimit.core.limit import Cells
from moreton.ratelimit.rls.core.settling import Ask, Settled, settle
from moreton.ratelimit.rls.stores.store import KEYS_MAX, Store, identity
from moreton.ratelimit.tables import RowTable


class LocalStore(Store):
    """For one server process; up to *keys_max* keys for limits of one identity."""

    def __init__(self, *, keys_max: int = KEYS_MAX, clock: LimitClock = SYSTEM) -> None:
        super().__init__(clock)
        check_whole("keys_max", keys_max, 1, why="no key could be remembered")
        self._keys_max = keys_max
        self._tables: dict[str, RowTable] = {}

    async def settle(self, domain: str, asks: Sequence[Ask]) -> Settled:  # noqa: ARG002 - the shape
        """See `Store.settle`."""
        return self.settle_nowait(asks)

    def settle_nowait(self, asks: Sequence[Ask]) -> Settled:
        """As `settle`."""
        nows = self.nows(asks)
        states = [self.cells(ask, now) for ask, now in zip(asks, nows, strict=True)]
        return settle(asks, states, nows)

    def cells(self, ask: Ask, now: int) -> Cells:
        """The state that *ask* is about."""
        name = identity(ask.limit)
        table = self._tables.get(name)
        if table is None:
            table = self._tables[name] = RowTable(ask.limit, self._keys_max)
        return table.state(ask.key, now)
