"""Sagas of coroutines, on every database that keeps them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from moreton.transactions.saga import (
    Declined,
    Run,
    Saga,
    Sagas,
    Signal,
    Status,
    parallel,
    pivot,
    step,
)
from support.saga_shop import QUICK

PATIENCE = timedelta(seconds=30)


class Trip:
    def __init__(self) -> None:
        self.seen: list[object] = []
        seen = self.seen
        both = asyncio.Barrier(2)

        @step
        async def hotel(_: Run[Any]) -> str:
            async with asyncio.timeout(20):
                await both.wait()
            seen.append(asyncio.get_running_loop())
            return "room"

        @hotel.undo
        async def leave(_: Run[Any], found: str | None) -> None:
            seen.append(f"leave {found}")

        @step
        async def flight(_: Run[Any]) -> str:
            async with asyncio.timeout(20):
                await both.wait()
            return "seat"

        @flight.undo
        def stay(_: Run[Any], found: str | None) -> None:
            seen.append(f"stay {found}")

        @pivot
        async def pay(run: Run[Any]) -> str:
            if run.input == "poor":
                raise Declined("no money")
            return f"{run[hotel]} and {run[flight]}"

        self.pay = pay
        self.saga = Saga("trip", parallel(hotel, flight), pay)


async def test_coroutines_run_at_once_on_the_loop_of_the_engine(url: str) -> None:
    trip = Trip()
    async with Sagas(url, trip.saga) as sagas:
        outcome = await sagas.run_async(trip.saga, "rich")
        assert outcome[trip.pay] == "room and seat"
        assert trip.seen == [asyncio.get_running_loop()]
        handle = await sagas.start_async(trip.saga, "poor")
        assert (await handle.wait_async(PATIENCE)).status is Status.COMPENSATED
        assert set(trip.seen[2:]) == {"leave room", "stay seat"}


def test_coroutines_run_on_a_loop_of_the_engine_in_a_plain_program(url: str) -> None:
    trip = Trip()
    with Sagas(url, trip.saga) as sagas:
        handles = [sagas.start(trip.saga, "rich") for _ in range(1)]
        assert all(handle.wait(PATIENCE) for handle in handles)
        assert sagas.run(trip.saga, "poor").status is Status.COMPENSATED


async def test_many_at_once_share_commits(url: str) -> None:
    @pivot
    async def act(run: Run[int]) -> int:
        return run.input

    saga = Saga("many", act)
    async with Sagas(url, saga) as sagas:
        ends = await asyncio.gather(*[sagas.run_async(saga, number) for number in range(100)])
        assert [end[act] for end in ends] == list(range(100))


async def test_coroutine_is_cancelled_when_its_time_is_over_and_undone(url: str) -> None:
    seen = []

    @step(timeout=timedelta(milliseconds=10), retry=QUICK)
    async def slow(_: Run[Any]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cancelled")

    @slow.undo
    async def undo(_: Run[Any], __: object) -> None:
        seen.append("undone")

    saga = Saga("slow", slow)
    async with Sagas(url, saga) as sagas:
        assert (await sagas.run_async(saga)).status is Status.COMPENSATED
    assert seen == ["cancelled"] * 3 + ["undone"]


async def test_coroutines_that_wait_take_no_thread_from_others(url: str) -> None:
    saga = Saga("asked", Signal("go"))
    async with Sagas(url, saga) as sagas:
        handles = [await sagas.start_async(saga) for _ in range(40)]
        waits = [asyncio.create_task(handle.wait_async(PATIENCE)) for handle in handles]
        with pytest.raises(TimeoutError, match="it goes on; wait longer"):
            await handles[0].wait_async(timedelta(milliseconds=1))
        for handle in handles:
            async with asyncio.timeout(20):
                await asyncio.to_thread(sagas.signal, handle.id, "go")
        assert all(await asyncio.gather(*waits))
