"""DBOS, with its defaults."""

from __future__ import annotations

import asyncio
import sys
import time
from functools import partial
from typing import Any

from dbos import DBOS, DBOSConfig

from bench.saga.workers.serving import answer, at_once, began, in_turn, orders


@DBOS.step()
def plain_step(number: int) -> int:
    began.append(time.perf_counter())
    return number


@DBOS.step()
async def async_step(number: int) -> int:
    return number


@DBOS.workflow()
def plain_workflow(steps: int) -> int:
    for number in range(steps):
        plain_step(number)
    return steps


@DBOS.workflow()
async def async_workflow(steps: int) -> int:
    for number in range(steps):
        await async_step(number)
    return steps


async def main(url: str) -> None:
    config: DBOSConfig = {"name": "bench", "system_database_url": url}
    DBOS(config=config)
    DBOS.launch()
    for order in orders():
        steps, seconds = order["steps"], order["seconds"]
        if order["at_once"] == 1:
            # In a thread without a loop, where plain workflows belong.
            run_plain = partial(plain_workflow, steps)
            answer(await asyncio.to_thread(in_turn, run_plain, seconds), steps)
        else:

            async def run(steps: int = steps) -> Any:
                handle = await DBOS.start_workflow_async(async_workflow, steps)
                return await handle.get_result()

            answer(await at_once(run, order["at_once"], seconds))
    DBOS.destroy()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
