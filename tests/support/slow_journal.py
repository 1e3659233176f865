"""A disk that takes its time."""

from __future__ import annotations

from collections.abc import Callable

from moreton.store.core.changes import Change
from moreton.store.core.errors import StoreError
from moreton.store.host import Journal


class SlowJournal(Journal):
    """Makes changes durable when the test says so."""

    def __init__(self) -> None:
        self.submitted: list[Change] = []

    def start(self, committed: Callable[[int], None], failed: Callable[[StoreError], None]) -> None:
        self.committed = committed
        self.failed = failed

    def submit(self, change: Change) -> None:
        self.submitted.append(change)

    async def close(self) -> None:
        pass

    def commits(self) -> int:
        return 0

    def file_bytes(self) -> int:
        return 0
