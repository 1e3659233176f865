"""Those who compete in a test, each in a task of its own, as other processes would."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from moreton.election import Term
from moreton.election.errors import TermLost
from moreton.election.place import Queue

SECONDS = 20.0


class Contender:
    """One who waits for *entering* and holds it until told to let go."""

    def __init__(self, entering: AbstractAsyncContextManager[Term]) -> None:
        self.term: asyncio.Future[Term] = asyncio.get_running_loop().create_future()
        self.ending = asyncio.Event()
        self.task = asyncio.create_task(self._hold(entering))

    @property
    def is_in(self) -> bool:
        """Whether it came in."""
        return self.term.done()

    async def wait_in(self) -> Term:
        """Its term, once it is in; what went wrong, if it never will be."""
        async with asyncio.timeout(SECONDS):
            either: set[asyncio.Future[Any]] = {self.term, self.task}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not self.term.done():
                await self.task
            return await self.term

    async def let_go(self) -> None:
        """Hand over, and return once that is done."""
        self.ending.set()
        await asyncio.wait_for(self.task, SECONDS)

    async def _hold(self, entering: AbstractAsyncContextManager[Term]) -> None:
        async with entering as term:
            self.term.set_result(term)
            await self.ending.wait()


@contextlib.asynccontextmanager
async def holding(entering: AbstractAsyncContextManager[Term]) -> AsyncIterator[Term]:
    """Somebody else holds it within."""
    contender = Contender(entering)
    try:
        yield await contender.wait_in()
    finally:
        contender.ending.set()
        with contextlib.suppress(TermLost):
            await contender.task


async def standing(entering: AbstractAsyncContextManager[Term], queue: Queue) -> Contender:
    """One more contender, once it stands in *queue*."""
    before = len(await queue.entries())
    contender = Contender(entering)
    await queued(queue, before + 1)
    return contender


async def queued(queue: Queue, count: int) -> None:
    """Return once *count* stand in *queue*, those who are in included."""
    async with asyncio.timeout(SECONDS):
        while len(await queue.entries()) != count:
            await asyncio.sleep(0.01)


def hang(term: Term) -> None:
    """Give no sign of life any more, as a process that was stopped or cut off."""
    term._place.keeper.stop()
