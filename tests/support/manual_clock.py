"""A clock of limits that stands still until it is told, or slept on."""

from __future__ import annotations

from collections.abc import Callable

START = 1_700_000_000_000_000_000


class ManualClock:
    """Both times in one; whoever sleeps moves it."""

    def __init__(self, nanos: int = START) -> None:
        self.nanos = nanos
        self.slept: list[float] = []

    @property
    def monotonic(self) -> Callable[[], int]:
        return lambda: self.nanos

    @property
    def calendar(self) -> Callable[[], int]:
        return lambda: self.nanos

    def advance(self, seconds: float) -> None:
        self.nanos += round(seconds * 1_000_000_000)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)
