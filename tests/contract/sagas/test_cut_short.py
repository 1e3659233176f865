"""Callers that are cancelled and steps that leave: the saga comes to its end all the same."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from moreton.transactions.saga import Run, Saga, Sagas, Status, pivot

PATIENCE = timedelta(seconds=20)


class Slow:
    """A saga whose step waits until it is let go."""

    def __init__(self) -> None:
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()

        @pivot
        async def act(_: Run[Any]) -> str:
            self.begun.set()
            await self.may_end.wait()
            return "done"

        self.act = act
        self.saga = Saga("slow", act)


async def test_saga_goes_on_when_who_runs_it_is_cancelled(url: str) -> None:
    slow = Slow()
    async with Sagas(url, slow.saga) as sagas:
        running = asyncio.create_task(sagas.run_async(slow.saga, id="a"))
        await slow.begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        slow.may_end.set()
        outcome = await sagas.find("a").wait_async(PATIENCE)
        assert outcome[slow.act] == "done"


@pytest.mark.parametrize("begin", ["start_async", "run_async"])
async def test_saga_goes_on_when_who_begins_it_is_cancelled(url: str, begin: str) -> None:
    slow = Slow()
    slow.may_end.set()
    async with Sagas(url, slow.saga) as sagas:
        beginning = asyncio.create_task(getattr(sagas, begin)(slow.saga, id="a"))
        await asyncio.sleep(0)  # it is on its way to the log
        beginning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await beginning
        async with asyncio.timeout(20):
            while sagas.counts() == {}:
                await asyncio.sleep(0.01)
        assert (await sagas.find("a").wait_async(PATIENCE)).status is Status.COMPLETED


def test_saga_goes_on_when_the_loop_that_ran_it_ends(url: str) -> None:
    slow = Slow()

    async def leave(sagas: Sagas) -> None:
        asyncio.create_task(sagas.run_async(slow.saga, id="a"))  # noqa: RUF006 - it is to be lost
        await slow.begun.wait()

    with Sagas(url, slow.saga) as sagas:
        asyncio.run(leave(sagas))
        slow.begun, slow.may_end = asyncio.Event(), asyncio.Event()
        slow.may_end.set()
        assert sagas.find("a").wait(PATIENCE).status is Status.COMPLETED
