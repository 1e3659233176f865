"""Clients that read, write and exchange values at any node, and write down what they were told."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from moreton.kernel.time import SystemClock
from moreton.sim.linearizability import Recorder
from support.raft_processes import NODES, Processes, Unsure

CLIENTS = 6
KEYS = 3
# An operation in so many seconds, for each client: the load shall not be the fault.
_PACE_SECONDS = 0.04
# After so many operations the clients turn to new keys: judging one key takes longer the more
# operations of unknown outcome it has.
_OPERATIONS_PER_KEY = 200


class Workload:
    """*processes* are asked until `stop`; the history is in `recorder`."""

    def __init__(self, processes: Processes, rng: random.Random) -> None:
        self.recorder = Recorder()
        self.acknowledged = 0
        self._processes = processes
        self._rng = rng
        self._clock = SystemClock()
        self._number = 0  # every value is written once
        self._seen: dict[str, int | None] = {}
        self._stopping = False
        self._tasks = [asyncio.create_task(self._client(f"c{n}")) for n in range(CLIENTS)]

    async def stop(self) -> None:
        """Let every client finish what it asked."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def wait_progress(self, operations: int = 5) -> None:
        """Return once so many more operations were acknowledged."""
        goal = self.acknowledged + operations
        while self.acknowledged < goal:
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.01)

    async def read_all(self) -> None:
        """Read every key at every node."""
        for node in NODES:
            for key in list(self._seen):
                await self._perform(f"last {node}", node, {"op": "read", "key": key})

    async def _client(self, name: str) -> None:
        run = 0
        while not self._stopping:
            # Who does not know whether its operation happened goes on as somebody else.
            sure = await self._perform(f"{name}.{run}", self._rng.choice(NODES), self._choose())
            run += not sure
            await asyncio.sleep(self._rng.uniform(0, 2 * _PACE_SECONDS))

    def _choose(self) -> dict[str, Any]:
        self._number += 1
        epoch = self._number // (_OPERATIONS_PER_KEY * KEYS)
        key = f"{epoch}-{self._number % KEYS}"
        kind = self._rng.random()
        if kind < 0.4:
            return {"op": "read", "key": key}
        if kind < 0.7:
            return {"op": "write", "key": key, "value": self._number}
        return {"op": "cas", "key": key, "expected": self._seen.get(key), "new": self._number}

    async def _perform(self, name: str, node: int, asked: dict[str, Any]) -> bool:
        """Whether the outcome is known."""
        recorder, op, key = self.recorder, asked["op"], asked["key"]
        arguments = {"read": None, "write": asked.get("value")}
        argument = arguments.get(op, [asked.get("expected"), asked.get("new")])
        recorder.invoke(name, op, key, argument, self._clock.now())
        try:
            answer = await self._processes.ask(node, **asked)
        except OSError:
            recorder.fail(name, self._clock.now())
            return True
        except Unsure:
            recorder.info(name, self._clock.now())
            return False
        if "error" in answer:
            if answer["sure"]:
                recorder.fail(name, self._clock.now())
            else:
                recorder.info(name, self._clock.now())
            return bool(answer["sure"])
        self.acknowledged += 1
        self._take(name, asked, answer)
        return True

    def _take(self, name: str, asked: dict[str, Any], answer: dict[str, Any]) -> None:
        op, key = asked["op"], asked["key"]
        if op == "read":
            self._seen[key] = answer["value"]
            self.recorder.ok(name, answer["value"], self._clock.now())
        elif op == "write":
            self._seen[key] = asked["value"]
            self.recorder.ok(name, None, self._clock.now())
        else:
            self.recorder.ok(name, None if answer["done"] else False, self._clock.now())
