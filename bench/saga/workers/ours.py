"""Moreton's sagas."""

from __future__ import annotations

import asyncio
import sys
import time
from functools import partial
from typing import Any

from bench.saga.workers.serving import answer, at_once, began, in_turn, orders
from moreton.transactions.saga import Run, Saga, Sagas, step

STEPS = (0, 1, 3, 10)


def sagas_of(*, coroutines: bool) -> dict[int, Saga]:
    """A saga of each length."""

    def make(number: int) -> Any:
        if coroutines:

            @step(name=f"step-{number}", harmless=True)
            async def work(_: Run[Any]) -> int:
                return number

            return work

        @step(name=f"step-{number}", harmless=True)
        def plain(_: Run[Any]) -> int:
            began.append(time.perf_counter())
            return number

        return plain

    kind = "async" if coroutines else "plain"
    return {count: Saga(f"{kind}-{count}", *map(make, range(count))) for count in STEPS}


async def main(url: str) -> None:
    plain, coroutines = sagas_of(coroutines=False), sagas_of(coroutines=True)
    async with Sagas(url, *plain.values(), *coroutines.values(), workers=32) as sagas:
        for order in orders():
            count = order["steps"]
            if order["at_once"] == 1:
                # The loop has nothing to do meanwhile.
                answer(in_turn(partial(sagas.run, plain[count]), order["seconds"]), count)
            else:
                run = partial(sagas.run_async, coroutines[count])
                answer(await at_once(run, order["at_once"], order["seconds"]))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
