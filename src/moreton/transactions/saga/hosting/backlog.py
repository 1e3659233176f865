"""How many sagas wait for a worker, and whether one more may."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from threading import Event as Flag
from threading import Lock

from moreton.transactions.saga.errors import SagasFull
from moreton.transactions.saga.ledgers.port import Begin


class Backlog:
    """At most *most* wait by what this engine begins, however many threads do so at once.

    It counts what it lets in since the log was counted, and what was on its way by then. What other
    engines begin is seen at the next count.
    """

    def __init__(self, most: int, bell: Flag) -> None:
        self.most = most
        self._bell = bell
        self._lock = Lock()
        self._counted = 0
        self._since = 0
        self._flying = 0
        self.refused = False  # since the last count

    @contextlib.contextmanager
    def entering(self, begin: Begin) -> Iterator[None]:
        """Around the write of *begin*; raises `SagasFull`. What a worker has already may always."""
        if begin.due is None or begin.owner is not None:
            yield
            return
        self._enter()
        try:
            yield
        finally:
            with self._lock:
                self._flying -= 1

    def count_in(self) -> None:
        """As `entering`, for a write that is made before the next count begins."""
        self._enter()
        with self._lock:
            self._flying -= 1

    def recount(self, count: Callable[[int], int]) -> None:
        """*count* tells how many wait, up to its argument."""
        with self._lock:
            before, flying = self._since, self._flying
            self.refused = False
        found = count(self.most)
        with self._lock:
            self._counted = found
            self._since += flying - before

    def _enter(self) -> None:
        with self._lock:
            waiting = self._counted + self._since
            if waiting < self.most:
                self._since += 1
                self._flying += 1
                return
            self.refused = True
        self._bell.set()
        raise SagasFull(waiting=waiting, most=self.most)
