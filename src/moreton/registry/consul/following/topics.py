"""What can be waited for, and who waits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

# Each waiting request costs some kilobytes; a client that has more is told to slow down.
WAITING_MAX = 20_000


class Topic(NamedTuple):
    """One thing that can be waited for, apart from all others."""

    kind: Literal["service", "services", "checks", "nodes", "key", "prefix", "session", "sessions"]
    name: str = ""


@dataclass(frozen=True, slots=True)
class WaitingStatistics:
    """Who waits now, and how many were woken so far."""

    waiting: int
    woken: int


class Waiters:
    """Wakes those who wait for a topic, and nobody else."""

    def __init__(self) -> None:
        self._waiting: dict[Topic, set[asyncio.Future[None]]] = {}
        self._count = self._woken = 0
        self._closed = False

    def __contains__(self, topic: Topic) -> bool:
        return topic in self._waiting

    @property
    def is_full(self) -> bool:
        """Whether nobody more may wait."""
        return self._count >= WAITING_MAX

    def statistics(self) -> WaitingStatistics:
        """The numbers now."""
        return WaitingStatistics(self._count, self._woken)

    def wake(self, topics: Iterable[Topic]) -> None:
        """Wake those who wait for one of *topics*."""
        for topic in topics:
            for waiter in self._waiting.get(topic, ()):
                if not waiter.done():
                    waiter.set_result(None)
                    self._woken += 1

    def close(self) -> None:
        """Wake everyone, and let nobody wait any more: the server stops."""
        self._closed = True
        self.wake(list(self._waiting))

    @contextmanager
    def waiting(self, topic: Topic) -> Iterator[asyncio.Future[None]]:
        """A future that is done once *topic* changed after the block was entered."""
        waiter = asyncio.get_running_loop().create_future()
        if self._closed:
            waiter.set_result(None)
        self._waiting.setdefault(topic, set()).add(waiter)
        self._count += 1
        try:
            yield waiter
        finally:
            self._count -= 1
            waiters = self._waiting[topic]
            waiters.discard(waiter)
            if not waiters:
                del self._waiting[topic]
            waiter.cancel()

    @property
    def is_closed(self) -> bool:
        """Whether the server stops."""
        return self._closed
