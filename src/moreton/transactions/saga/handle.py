"""A saga that was begun, from where it can be waited for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from datetime import timedelta
from threading import Condition
from typing import TYPE_CHECKING

from moreton.transactions.saga.core.events import Status
from moreton.transactions.saga.core.history import History
from moreton.transactions.saga.core.rows import from_row
from moreton.transactions.saga.definition import Saga
from moreton.transactions.saga.errors import SagaUnknown
from moreton.transactions.saga.outcome import Outcome

if TYPE_CHECKING:
    from moreton.transactions.saga.hosting.workshop import Workshop

# How often the log is asked about a saga that another process may have; a coroutine asks less and
# less often, as thousands of them may wait.
_LOOK_SECONDS = 0.2
_LOOK_SECONDS_MAX = 1.0


class Handle:
    """One saga, begun by this call or an earlier one with the same id."""

    __slots__ = ("__weakref__", "_changed", "_loops", "_outcome", "_saga", "_shop", "id", "number")

    def __init__(self, shop: Workshop, saga: Saga, saga_id: str, number: int) -> None:
        self._shop, self._saga = shop, saga
        self.id, self.number = saga_id, number
        self._changed = Condition()
        self._outcome: Outcome | None = None
        self._loops: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}  # of coroutines that wait
        shop.ended[number] = self

    def tell(self, status: Status, reason: str, results: Mapping[str, str]) -> None:
        """It rests; called by the engine."""
        with self._changed:
            self._outcome = Outcome(self.id, status, reason, results)
            self._changed.notify_all()
            for flag, loop in self._loops.items():
                with contextlib.suppress(RuntimeError):  # a loop that ended has nobody to tell
                    loop.call_soon_threadsafe(flag.set)

    def status(self) -> Status:
        """How far it is, as its log says."""
        row = self._shop.ledger.at(self.number)
        if row is None:
            raise SagaUnknown(saga_id=self.id, where=self._shop.ledger.where)
        return Status(row.status)

    def wait(self, timeout: timedelta | None = None) -> Outcome:
        """Its outcome, once it completed, was compensated or is parked.

        Raises `TimeoutError` after *timeout*; the saga goes on.
        """
        end = None if timeout is None else time.monotonic() + timeout.total_seconds()
        while True:
            if self._outcome is not None and self._outcome.status.is_final:
                return self._outcome
            found = self._look()
            if found is not None:
                return found
            left = _LOOK_SECONDS if end is None else min(_LOOK_SECONDS, end - time.monotonic())
            if left <= 0:
                raise self._late(timeout)
            with self._changed:
                if self._outcome is None:
                    self._changed.wait(left)

    async def wait_async(self, timeout: timedelta | None = None) -> Outcome:  # noqa: ASYNC109 - as `wait`
        """As `wait`; takes no thread while it waits."""
        changed = asyncio.Event()
        with self._changed:
            self._loops[changed] = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None if timeout is None else timeout.total_seconds()):
                return await self._wait_told(changed)
        except TimeoutError:
            raise self._late(timeout) from None
        finally:
            with self._changed:
                del self._loops[changed]

    async def _wait_told(self, changed: asyncio.Event) -> Outcome:
        seconds = _LOOK_SECONDS
        while True:
            if self._outcome is not None and self._outcome.status.is_final:
                return self._outcome
            changed.clear()
            found = await asyncio.to_thread(self._look)
            if found is not None:
                return found
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await changed.wait()
            seconds = min(_LOOK_SECONDS_MAX, 1.5 * seconds)

    def _look(self) -> Outcome | None:
        if self._outcome is not None:  # it was parked: a person may have decided since
            self._outcome = None
        shop = self._shop
        if self.number in shop.active:
            return None
        row = shop.ledger.at(self.number)
        if row is None:
            raise SagaUnknown(saga_id=self.id, where=shop.ledger.where)
        status = Status(row.status)
        if not status.is_final and status is not Status.PARKED:
            return None
        history = History(self._saga.plan)
        for one in shop.ledger.log(self.number):
            history.apply(from_row(one))
        return Outcome(self.id, status, row.reason, history.results)

    def _late(self, timeout: timedelta | None) -> TimeoutError:
        return TimeoutError(
            f'saga "{self.id}" did not end within {timeout}: it goes on; wait longer, or look at '
            f"it by `moreton saga show {self.id}`"
        )

    def __repr__(self) -> str:
        return f"<saga {self._saga.name} {self.id}>"
