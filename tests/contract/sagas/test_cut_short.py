"""Callers that are cancelled and steps that leave: the saga comes to its end all the same."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from typing import Any

import pytest

from moreton.transactions.saga import Run, Saga, Sagas, Status, Step, parallel, pivot, step

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


def leaving() -> dict[str, Step[Any]]:
    """Steps that end by what is no error."""

    @step
    def exits(_: Run[Any]) -> None:
        sys.exit(3)

    @step
    def is_cancelled(_: Run[Any]) -> None:
        raise asyncio.CancelledError

    @step
    async def exits_on_the_loop(_: Run[Any]) -> None:
        sys.exit(3)

    @step
    async def awaits_what_was_cancelled(_: Run[Any]) -> None:
        other = asyncio.create_task(asyncio.sleep(60))
        other.cancel()
        await other

    steps = [exits, is_cancelled, exits_on_the_loop, awaits_what_was_cancelled]
    for one in steps:
        one.undo(lambda _, __: None)
    return {one.name: one for one in steps}


@step
def stock(_: Run[Any]) -> str:
    return "stock"


@stock.undo
def unstock(_: Run[Any], __: str | None) -> None: ...


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("how", list(leaving()))
def test_step_that_leaves_has_failed(url: str, how: str, *, beside: bool) -> None:
    leaves = leaving()[how]
    saga = Saga("leaving", parallel(leaves, stock) if beside else leaves)
    other = Saga("other", stock)
    with Sagas(url, saga, other) as sagas:
        outcome = sagas.start(saga).wait(PATIENCE)
        assert outcome.status is Status.COMPENSATED
        assert outcome.reason.startswith(f"{how}: ")
        assert sagas.start(other).wait(PATIENCE)
