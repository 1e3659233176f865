"""Who asks most, of any number of keys, in bounded memory: the Space-Saving algorithm.

Sources: Metwally, Agrawal and El Abbadi, "Efficient Computation of Frequent and Top-k Elements in
Data Streams", 2005; for merging: Cafaro, Pulimeno and Tempesta, "A parallel space saving algorithm
for frequent items and the Hurwitz zeta distribution", 2016.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from moreton.kernel.arguments import check_whole


@dataclass(frozen=True, slots=True)
class Talker:
    """*key* counted at most *count*, and at least *count* - *error*; of these *refused* or more."""

    key: str
    count: int
    error: int = 0
    refused: int = 0


class HeavyHitters:
    """The keys with the greatest counts; at most *most* are remembered.

    Whatever comes in whatever order, of a total N: no key that is not remembered counted more than
    `floor`, which is at most N / *most*; and what is said of one is never too little, nor too much
    by more than its `error`, which is at most N / *most*. O(log most) for each.
    """

    __slots__ = ("_heap", "_rows", "floor", "most", "total")

    def __init__(self, most: int) -> None:
        check_whole("most", most, 1, why="nobody could be remembered")
        self.most = most
        self.floor = 0
        self.total = 0
        self._rows: dict[str, list[int]] = {}  # count, error, refused
        # Of each row one entry, whose count is that of now or of before: the least is looked up.
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, key: str, count: int = 1, *, refused: int = 0) -> None:
        """*key* counted *count* more, and was refused *refused* of them."""
        self.total += count
        row = self._rows.get(key)
        if row is not None:
            row[0] += count
            row[2] += refused
            return
        if len(self._rows) < self.most:
            heapq.heappush(self._heap, (self.floor + count, key))
        else:
            self.floor = self._drop_least()
            heapq.heapreplace(self._heap, (self.floor + count, key))
        # It may have been here before, and counted as much as one of whom nothing is known.
        self._rows[key] = [self.floor + count, self.floor, refused]

    def top(self, most: int | None = None) -> list[Talker]:
        """The *most* that count most, the greatest first."""
        # Of two that count the same, the one that is surer.
        rows = sorted(self._rows.items(), key=lambda one: (-one[1][0], one[1][1], one[0]))
        return [Talker(key, *row) for key, row in rows[:most]]

    def merge(self, talkers: Iterable[Talker], *, floor: int, total: int) -> None:
        """Take in what another one has: its *talkers*, *floor* and *total*.

        What holds of each of them holds of both together.
        """
        others = {one.key: one for one in talkers}
        rows = {
            key: [row[0] + floor, row[1] + floor, row[2]]
            for key, row in self._rows.items()
            if key not in others
        }
        for key, one in others.items():
            count, error, refused = self._rows.get(key, (self.floor, self.floor, 0))
            rows[key] = [count + one.count, error + one.error, refused + one.refused]
        self.floor += floor
        self.total += total
        kept = heapq.nlargest(self.most, rows, key=lambda key: rows[key][0])
        if len(kept) < len(rows):
            left = rows.keys() - kept
            self.floor = max(self.floor, *(rows[key][0] for key in left))
        self._rows = {key: rows[key] for key in kept}
        self._heap = [(rows[key][0], key) for key in kept]
        heapq.heapify(self._heap)

    def _drop_least(self) -> int:
        """Forget the key that counts least; its entry is the first of the heap. What it counted."""
        while True:
            count, key = self._heap[0]
            present = self._rows[key][0]
            if present == count:
                del self._rows[key]
                return count
            heapq.heapreplace(self._heap, (present, key))
