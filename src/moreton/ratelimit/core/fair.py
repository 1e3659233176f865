"""A weighted fair queue: one tenant's surge makes that tenant wait, and nobody else.

Each piece of work gets a finish in virtual time, as if all tenants were served at once by their
weights; the least is served next. Source: Goyal, Vin and Cheng, "Start-time Fair Queuing", 1996.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Generic, TypeVar

from moreton.kernel.arguments import check_number, check_whole

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class Waiting(Generic[ItemT]):
    """One piece of work in the queue."""

    item: ItemT
    tenant: str
    start: float
    finish: float
    cost: int = 1


class FairQueue(Generic[ItemT]):
    """Holds at most *most*; when it is full the tenant with the most waiting loses its last one."""

    __slots__ = ("_finishes", "_heap", "_number", "_virtual", "_waiting", "most")

    def __init__(self, most: int) -> None:
        check_whole("most", most, 1, why="nothing could wait")
        self.most = most
        self._heap: list[tuple[float, int, Waiting[ItemT]]] = []
        self._finishes: dict[str, float] = {}  # of the last of each tenant that waits
        self._waiting: dict[str, list[Waiting[ItemT]]] = {}
        self._virtual = 0.0
        self._number = 0

    def __len__(self) -> int:
        return sum(len(row) for row in self._waiting.values())

    def put(
        self, item: ItemT, tenant: str, *, weight: float = 1.0, cost: int = 1
    ) -> Waiting[ItemT] | None:
        """Add *item*; what had to go for it, perhaps itself: `None` while there is room."""
        check_number("weight", weight, 0, why="it would never be served", above=True)
        check_whole("cost", cost, 0)
        start = max(self._virtual, self._finishes.get(tenant, 0.0))
        one = Waiting(item, tenant, start, start + cost / weight, cost)
        self._finishes[tenant] = one.finish
        self._waiting.setdefault(tenant, []).append(one)
        self._number += 1
        heapq.heappush(self._heap, (one.finish, self._number, one))
        if len(self) <= self.most:
            return None
        longest = max(self._waiting, key=lambda name: len(self._waiting[name]))
        last = self._waiting[longest][-1]
        self.remove(last)
        return last

    def pop(self) -> Waiting[ItemT] | None:
        """The next one to be served; `None` when nobody waits."""
        while self._heap:
            _, _, one = heapq.heappop(self._heap)
            row = self._waiting.get(one.tenant, [])
            if any(one is other for other in row):
                self._virtual = max(self._virtual, one.start)
                self._forget(one)
                return one
        return None

    def remove(self, one: Waiting[ItemT]) -> bool:
        """Take *one* out: whoever wanted it has gone; whether it was there."""
        if not any(one is other for other in self._waiting.get(one.tenant, ())):
            return False
        self._forget(one)
        if self._finishes.get(one.tenant) == one.finish:
            self._finishes[one.tenant] = one.start
        return True

    def _forget(self, one: Waiting[ItemT]) -> None:
        row = [other for other in self._waiting[one.tenant] if other is not one]
        if row:
            self._waiting[one.tenant] = row
        else:
            del self._waiting[one.tenant]
            if self._finishes.get(one.tenant, 0.0) <= self._virtual:
                self._finishes.pop(one.tenant, None)
