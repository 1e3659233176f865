"""From waiting in line to the end of the body: what elections and all locks have in common."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

from moreton.election.core.errors import AlreadyHeld, TermLost
from moreton.election.core.names import check_value, check_wait
from moreton.election.place import Displaced, Place, Queue
from moreton.election.term import Life, Term

_LOG = logging.getLogger("moreton.election")
# Who loses its place again and again does not ask the store faster than this.
_REJOIN_SECONDS_MAX = 1.0


@dataclass(frozen=True, slots=True)
class Bid:
    """What is asked for: a place in *queue* under *value*, waiting at most *wait*.

    One owner may hold the same twice if *again*.
    """

    queue: Queue
    value: bytes | None
    lost: Callable[..., TermLost]
    wait: timedelta | None = None
    again: bool = False

    @classmethod
    def of(
        cls,
        queue: Queue,
        value: bytes | None,
        wait: timedelta | None,
        lost: Callable[..., TermLost],
        *,
        again: bool = False,
    ) -> Self:
        """A bid; without a *value*, under host and process number.

        Raises `TypeError`, `ValueError`.
        """
        check_bid(value, wait)
        return cls(queue, value, lost, wait, again)

    async def place(self) -> Place:
        """Stand in line."""
        # Not before: the process may have been forked since the bid was made.
        own = f"{socket.gethostname()}:{os.getpid()}".encode()
        return await Place.take(self.queue, own if self.value is None else self.value)


def check_bid(value: bytes | None, wait: timedelta | None) -> None:
    """Raises `TypeError`, `ValueError`."""
    if value is not None:
        check_value(value)
    check_wait(wait)


class Holding(AbstractAsyncContextManager[Term]):
    """`async with` it: entered when it is one's turn; left, it hands over. For one use.

    When what is held is lost, the task that entered is cancelled, and the body ends by the error
    of the loss. A body that ends well was covered to its end.
    """

    def __init__(self, bid: Bid) -> None:
        self._bid = bid
        self._task: asyncio.Task[object] | None = None
        self._claim: _Claim | None = None
        self._cancelling = 0
        self._cancelled = False
        self._life: Life | None = None

    async def __aenter__(self) -> Term:
        """Raises `StillHeld`, `AlreadyHeld` and the store's errors; then nothing is held."""
        if self._task is not None:
            raise RuntimeError(
                f"{self._bid.queue.what} was asked for once and entered twice; ask again each time"
            )
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"
        self._task = task
        self._cancelling = task.cancelling()
        self._claim = _claim(self._bid, task)
        try:
            return await self._win()
        except BaseException:
            _CLAIMS.discard(self._claim)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        life, task = self._life, self._task
        assert life is not None
        assert task is not None
        lost = not (life.is_held or life.resigned)
        life.place.keeper.stop()
        life.end("its lease may have ended before its body did" if lost else "its body has ended")
        is_ours = False
        try:
            is_ours = await self._settle_cancellation(task, error)
        finally:
            _CLAIMS.discard(self._claim)
            if not life.resigned:
                await life.place.leave()
        if lost and (error is None or is_ours):
            raise life.error() from error

    async def _win(self) -> Term:
        wait = self._bid.wait
        now = asyncio.get_running_loop().time()
        until = None if wait is None else now + wait.total_seconds()
        while True:
            place = await self._bid.place()
            try:
                await place.wait_turn(until, wait)
                return self._begin(place)
            except Displaced as error:
                await place.leave()
                await self._pause(str(error))
            except BaseException:
                await place.leave()
                raise

    def _begin(self, place: Place) -> Term:
        place.keeper.hold()
        if place.gone.done():
            raise Displaced(place.gone.result())
        self._life = Life(place, self._bid.lost)
        place.on_lost = self._on_lost
        _LOG.info("%s is held, with token %s", place.queue.what, place.token)
        return Term(self._life)

    def _on_lost(self, reason: str) -> None:
        assert self._life is not None
        assert self._task is not None
        self._life.end(reason)
        _LOG.info("%s", self._life.error())
        self._cancelled = True
        self._task.cancel()

    async def _settle_cancellation(
        self, task: asyncio.Task[object], error: BaseException | None
    ) -> bool:
        """Take our own cancellation back; whether *error* is that, and nobody else's."""
        if not self._cancelled:
            return False
        task.uncancel()
        if isinstance(error, asyncio.CancelledError):
            return task.cancelling() <= self._cancelling
        try:
            # The body ended before it was told: until Python 3.13 that is still to come.
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if task.cancelling() > self._cancelling:
                raise  # somebody else's
        return False

    async def _pause(self, reason: str) -> None:
        queue = self._bid.queue
        _LOG.warning("%s: the place in the queue was lost, %s; joining again", queue.what, reason)
        longest = min(queue.ttl.total_seconds(), _REJOIN_SECONDS_MAX)
        await asyncio.sleep(longest * queue.rng.uniform(0.1, 0.5))


# Who asks, where that is not the running task: the thread for which a task waits.
OWNER: ContextVar[object] = ContextVar("owner", default=None)
_Claim = tuple[object, int, bytes]
# Who holds or waits for what, in this process: whoever would wait for itself is told.
_CLAIMS: set[_Claim] = set()


def _claim(bid: Bid, task: object) -> _Claim | None:
    if bid.again:
        return None
    claim = (OWNER.get() or task, id(bid.queue.store), bid.queue.prefix)
    if claim in _CLAIMS:
        raise AlreadyHeld(what=bid.queue.what)
    _CLAIMS.add(claim)
    return claim
