"""Bounds for those who ask at the same time: many requests in one, and a limit on all of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")
AnswerT = TypeVar("AnswerT")


class Shared(Generic[ItemT, AnswerT]):
    """Gathers items, asks for all of them at once, and hands each its own answer.

    *ask* gives one answer per item, in order, or raises for all. An answer was asked for after its
    item came: it is never that of a request already under way.
    """

    def __init__(
        self,
        ask: Callable[[Sequence[ItemT]], Awaitable[Sequence[AnswerT]]],
        *,
        items_max: int,
    ) -> None:
        self._ask = ask
        self._items_max = items_max
        self._waiting: deque[tuple[ItemT, asyncio.Future[AnswerT]]] = deque()
        self._asking: asyncio.Task[None] | None = None
        self._end: Exception | None = None

    async def get(self, item: ItemT) -> AnswerT:
        """The answer for *item*."""
        if self._end is not None:
            raise self._end
        answer: asyncio.Future[AnswerT] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._asking is None:
            self._asking = asyncio.create_task(self._run())
        return await answer

    async def close(self, error: Exception) -> None:
        """Raise *error* to all who wait, and stop."""
        self._end = error
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    async def _run(self) -> None:
        try:
            while self._waiting:
                taken = min(len(self._waiting), self._items_max)
                await self._serve([self._waiting.popleft() for _ in range(taken)])
        finally:
            self._asking = None
            if self._end is not None:
                _fail(self._waiting, self._end)
                self._waiting.clear()

    async def _serve(self, batch: Sequence[tuple[ItemT, asyncio.Future[AnswerT]]]) -> None:
        try:
            answers = await self._ask([item for item, _ in batch])
        except asyncio.CancelledError:
            _fail(batch, self._end)
            raise
        except Exception as error:  # noqa: BLE001 - it is raised to each who waits
            _fail(batch, error)
            return
        if len(answers) != len(batch):
            message = f"{len(answers)} answers to {len(batch)} questions: whose they are is unknown"
            _fail(batch, RuntimeError(message))
            return
        for (_, answer), found in zip(batch, answers, strict=True):
            if not answer.done():
                answer.set_result(found)


def _fail(batch: Iterable[tuple[ItemT, asyncio.Future[AnswerT]]], error: Exception | None) -> None:
    for _, answer in batch:
        if answer.done():
            continue
        if error is None:
            answer.cancel()
        else:
            answer.set_exception(error)


class Room:
    """Lets so many in, and so many bytes, and the others wait. One alone may be of any size."""

    def __init__(self, *, count_max: int, bytes_max: int) -> None:
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._left: asyncio.Event = asyncio.Event()
        self.taken = 0

    async def take(self, size: int) -> None:
        """Come in, when there is room."""
        while self.taken >= self._count_max or (self.taken and self._bytes >= self._bytes_max):
            self._left.clear()
            await self._left.wait()
        self.taken += 1
        self._bytes += size

    def give(self, size: int) -> None:
        """Go out again."""
        self.taken -= 1
        self._bytes -= size
        self._left.set()

    async def wait_empty(self) -> None:
        """Return once nobody is in."""
        while self.taken:
            self._left.clear()
            await self._left.wait()
