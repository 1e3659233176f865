"""A store in memory: for tests and simulations. Everything is gone when the process ends."""

from __future__ import annotations

from collections.abc import Callable

from moreton.kernel.time import Clock, SystemClock
from moreton.store.core.changes import Change
from moreton.store.core.errors import StoreError
from moreton.store.core.state import State
from moreton.store.host import Journal, LocalStore


class MemoryJournal(Journal):
    """Calls every change durable at once."""

    def start(self, committed: Callable[[int], None], failed: Callable[[StoreError], None]) -> None:
        """As `Journal.start`; *failed* is never called."""
        del failed
        self._committed = committed

    def submit(self, change: Change) -> None:
        """As `Journal.submit`, before it returns."""
        del change
        self._committed(1)

    async def close(self) -> None:
        """Nothing is under way."""

    def commits(self) -> int:
        """There is no disk."""
        return 0

    def file_bytes(self) -> int:
        """There is no file."""
        return 0


def open_memory_store(*, clock: Clock | None = None) -> LocalStore:
    """An empty store that keeps nothing. Call it inside a running event loop."""
    return LocalStore(State(), MemoryJournal(), clock=clock or SystemClock())
