"""A disk that keeps only what was synced when its machine crashes."""

from __future__ import annotations

from moreton.kernel.rng import Rng


class SimDisk:
    """An append-only file of records: `append` is lost in a crash unless `sync` came after it.

    With *tear*, a crash may leave a part of the first unsynced record, as a real disk does.
    """

    def __init__(self, *, tear: bool = False) -> None:
        self._tear = tear
        self._synced: list[bytes] = []
        self._cached: list[bytes] = []
        self.lost = 0  # records that crashes took
        self.torn = 0

    def append(self, record: bytes) -> None:
        """Write *record*; it is visible at once and durable after `sync`."""
        self._cached.append(record)

    def sync(self) -> None:
        """Make everything written so far durable."""
        self._synced += self._cached
        self._cached.clear()

    def read(self) -> list[bytes]:
        """Every record that is visible now."""
        return [*self._synced, *self._cached]

    def crash(self, rng: Rng) -> None:
        """Lose what was not synced; any prefix of it may have reached the disk."""
        kept = rng.randrange(len(self._cached) + 1)
        lost = self._cached[kept:]
        self._synced += self._cached[:kept]
        self._cached.clear()
        self.lost += len(lost)
        if self._tear and lost and len(lost[0]) > 1 and rng.random() < 0.5:
            self._synced.append(lost[0][: 1 + rng.randrange(len(lost[0]) - 1)])
            self.torn += 1
