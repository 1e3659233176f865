"""Temporal, its development server."""

from __future__ import annotations

import asyncio
import sys
import uuid
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from bench.saga.workers.serving import answer, at_once, orders

_QUEUE = "bench"


@activity.defn
async def act(number: int) -> int:
    return number


@workflow.defn
class Steps:
    @workflow.run
    async def run(self, steps: int) -> int:
        for number in range(steps):
            await workflow.execute_activity(
                act, number, start_to_close_timeout=timedelta(seconds=30)
            )
        return steps


async def main(address: str) -> None:
    client = await Client.connect(address)
    worker = Worker(
        client, task_queue=_QUEUE, workflows=[Steps], activities=[act],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )  # fmt: skip
    async with worker:
        loop = asyncio.get_running_loop()
        waiting = orders()
        while (order := await loop.run_in_executor(None, next, waiting, None)) is not None:

            async def run(steps: int = order["steps"]) -> int:
                return await client.execute_workflow(
                    Steps.run, steps, id=uuid.uuid4().hex, task_queue=_QUEUE
                )

            answer(await at_once(run, order["at_once"], order["seconds"]))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
