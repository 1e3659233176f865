"""A disk that keeps only what was synced when its machine crashes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from moreton.kernel.rng import Rng


@dataclass(frozen=True, slots=True)
class Torn:
    """What is left of a record that is a value and reached the disk in part: not to be used."""

    record: Any


class SimDisk:
    """An append-only file of records: `append` is lost in a crash unless `sync` came after it.

    With *tear*, a crash may leave a part of the first unsynced record, as a real disk does: fewer
    bytes, or `Torn`.
    """

    def __init__(self, *, tear: bool = False) -> None:
        self._tear = tear
        self._synced: list[Any] = []
        self._cached: list[Any] = []
        self.lost = 0  # records that crashes took
        self.torn = 0

    def append(self, record: Any) -> None:
        """Write *record*; it is visible at once and durable after `sync`."""
        self._cached.append(record)

    def sync(self) -> None:
        """Make everything written so far durable."""
        self._synced += self._cached
        self._cached.clear()

    def read(self) -> list[Any]:
        """Every record that is visible now."""
        return [*self._synced, *self._cached]

    def crash(self, rng: Rng) -> None:
        """Lose what was not synced; any prefix of it may have reached the disk."""
        kept = rng.randrange(len(self._cached) + 1)
        lost = self._cached[kept:]
        self._synced += self._cached[:kept]
        self._cached.clear()
        self.lost += len(lost)
        if self._tear and lost and rng.random() < 0.5:
            self._tear_record(lost[0], rng)

    def _tear_record(self, record: Any, rng: Rng) -> None:
        if not isinstance(record, bytes):
            self._synced.append(Torn(record))
        elif len(record) > 1:
            self._synced.append(record[: 1 + rng.randrange(len(record) - 1)])
        else:
            return
        self.torn += 1
