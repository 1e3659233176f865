"""Limits within one process: the fastest there are."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from threading import RLock
from typing import cast

from moreton.kernel.arguments import check_whole
from moreton.ratelimit.cells import CellLimiter, Change
from moreton.ratelimit.clocks import SYSTEM, LimitClock
from moreton.ratelimit.core.decision import Decision
from moreton.ratelimit.core.gcra import Gcra
from moreton.ratelimit.core.limit import Limit
from moreton.ratelimit.gates import Allow, make_gate
from moreton.ratelimit.limiter import LimiterStatistics
from moreton.ratelimit.tables import KEYS_MAX, KeyTable, MomentTable, RowTable
from moreton.ratelimit.turns import WAITING_MAX


class LocalLimiter(CellLimiter):
    """The *limits* of this process alone, for up to *keys_max* keys each.

    When there are more, those are forgotten of which the whole quota is there again; others only
    when nearly all owe something at once. `allow(key, cost=1)` is `decide` without the reasons, in
    a fraction of the time.
    """

    allow: Allow

    def __init__(
        self,
        *limits: Limit,
        keys_max: int = KEYS_MAX,
        waiting_max: int = WAITING_MAX,
        clock: LimitClock = SYSTEM,
    ) -> None:
        super().__init__(limits, clock=clock, waiting_max=waiting_max)
        check_whole("keys_max", keys_max, 1, why="no key could be remembered")
        self._lock = RLock()
        self._keys_max = keys_max
        self._make()

    def reset(self, key: str) -> None:
        """See `Limiter.reset`."""
        with self._lock:
            for table in self._tables:
                table.forget(key)

    def statistics(self) -> LimiterStatistics:
        """See `Limiter.statistics`."""
        return LimiterStatistics(
            keys=max(len(table.states) for table in self._tables),
            evicted=sum(table.evicted for table in self._tables),
            waiting=self._queue.waiting,
        )

    def __getstate__(self) -> object:
        raise TypeError(
            "a LocalLimiter belongs to its process: another one would count anew; take a "
            "SharedLimiter"
        )

    def _make(self) -> None:
        self._tables: Sequence[KeyTable[int]] | Sequence[KeyTable[array[int]]]
        if all(type(limit) is Gcra for limit in self.limits):
            tables = [MomentTable(limit, self._keys_max) for limit in self.limits]
            self._tables = tables
            self.allow, self._swap = make_gate(
                cast("Sequence[Gcra]", self.limits),
                [table.states for table in tables],
                self.clock.monotonic,
                self._allow_new,
                self._lock,
            )
            self._changing = self._change_moments
        else:
            self._tables = [RowTable(limit, self._keys_max) for limit in self.limits]
            self.allow = self._allow
            self._changing = self._change_rows

    def _allow(self, key: str, cost: int = 1) -> bool:
        return self.decide(key, cost).allowed

    def _allow_new(self, key: str, cost: int = 1) -> bool:
        """For the gate: a key that it does not know, or a cost that is none."""
        check_whole("cost", cost, 0)
        if not cost:
            return self._allow(key, 0)
        now = self.clock.monotonic()
        with self._lock:
            for table in self._tables:
                table.state(key, now)
        return self.allow(key, cost)

    def _change(self, keys: tuple[str, ...], change: Change) -> Decision:
        return self._changing(keys, change)

    def _change_moments(self, keys: tuple[str, ...], change: Change) -> Decision:
        """Do *change* on copies, until no gate changed one of them meanwhile."""
        tables = cast("Sequence[MomentTable]", self._tables)
        with self._lock:
            while True:
                nows = self._nows()
                before = [
                    table.state(key, now)
                    for table, key, now in zip(tables, keys, nows, strict=True)
                ]
                cells = [[moment] for moment in before]
                decision = change(cells, nows)
                if self._swap(keys, before, [one for (one,) in cells]):
                    return decision

    def _change_rows(self, keys: tuple[str, ...], change: Change) -> Decision:
        tables = cast("Sequence[RowTable]", self._tables)
        with self._lock:
            nows = self._nows()
            states = [
                table.state(key, now) for table, key, now in zip(tables, keys, nows, strict=True)
            ]
            return change(states, nows)
