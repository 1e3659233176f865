"""Real nodes under every fault that one machine can give them: the history stays linearizable."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from e2e.consensus.workload import Workload
from moreton.sim.linearizability import CasRegister, check_history
from support.raft_processes import NODES, Processes, running_processes

MINUTE, HALF_HOUR = 60.0, 1800.0
FAULTS = 8
# Once a fault is over, some client must get an answer within so many seconds.
_RECOVERY_SECONDS_MAX = 20.0


class Nemesis:
    """Does harm, sees that it was done, and undoes it."""

    def __init__(self, processes: Processes, rng: random.Random) -> None:
        self._processes = processes
        self._rng = rng
        self.done: Counter[str] = Counter()

    @property
    def faults(self) -> list[Callable[[], Awaitable[None]]]:
        """Each leaves three living nodes that can reach each other."""
        return [
            self.kill_leader,
            self.stop_leader,
            self.cut_leader_off,
            self.kill_follower,
            self.cut_one_way,
            self.kill_most,
            self.stop_follower,
            self.kill_all,
        ]

    async def kill_leader(self) -> None:
        leader, others = await self._roles()
        await self._processes.kill(leader)
        await self._processes.wait_leader(others)
        await self._processes.start(leader)

    async def stop_leader(self) -> None:
        leader, others = await self._roles()
        self._processes.stop(leader)
        await self._processes.wait_leader(others)
        self._processes.go_on(leader)

    async def cut_leader_off(self) -> None:
        leader, others = await self._roles()
        held = self._processes.wires.held
        self._processes.wires.isolate(leader, others)
        await self._processes.wait_leader(others)
        assert self._processes.wires.held > held
        self._processes.wires.heal()

    async def kill_follower(self) -> None:
        _, others = await self._roles()
        node = self._rng.choice(others)
        await self._processes.kill(node)
        await asyncio.sleep(self._rng.uniform(0, 1))
        await self._processes.start(node)

    async def stop_follower(self) -> None:
        _, others = await self._roles()
        node = self._rng.choice(others)
        self._processes.stop(node)
        await asyncio.sleep(self._rng.uniform(0, 3))
        self._processes.go_on(node)

    async def cut_one_way(self) -> None:
        """The leader reaches a follower, which does not reach it; or the other way round."""
        leader, others = await self._roles()
        other = self._rng.choice(others)
        held = self._processes.wires.held
        pair = self._rng.choice([(leader, other), (other, leader)])
        self._processes.wires.cut([pair])
        await asyncio.sleep(self._rng.uniform(1, 4))
        assert self._processes.wires.held > held
        self._processes.wires.heal()

    async def kill_most(self) -> None:
        leader, others = await self._roles()
        dead = [leader, self._rng.choice(others)]
        for node in dead:
            await self._processes.kill(node)
        await asyncio.sleep(self._rng.uniform(0, 1))
        for node in dead:
            await self._processes.start(node)

    async def kill_all(self) -> None:
        await asyncio.gather(*(self._processes.kill(node) for node in NODES))
        await asyncio.gather(*(self._processes.start(node) for node in NODES))

    async def _roles(self) -> tuple[int, list[int]]:
        leader = await self._processes.wait_leader(NODES)
        return leader, [node for node in NODES if node != leader]


async def chaos(folder: Path, seed: int, seconds: float) -> Counter[str]:
    rng = random.Random(seed)
    async with running_processes(folder) as processes:
        nemesis, workload = Nemesis(processes, rng), Workload(processes, rng)
        until = time.monotonic() + seconds
        faults: list[Callable[[], Awaitable[None]]] = []
        while time.monotonic() < until:
            if not faults:  # each once, in some order, before any comes again
                faults = rng.sample(nemesis.faults, len(nemesis.faults))
            fault = faults.pop()
            await fault()
            nemesis.done[fault.__name__] += 1
            async with asyncio.timeout(_RECOVERY_SECONDS_MAX):
                await workload.wait_progress()
        await workload.stop()
        await processes.wait_leader(NODES)
        await workload.read_all()
    calls = workload.recorder.calls()
    verdict = check_history(calls, CasRegister())
    if not verdict.is_linearizable:
        (folder / "history.jsonl").write_text(workload.recorder.text())
    assert verdict.is_linearizable, f"seed {seed}, {folder}/history.jsonl: {verdict}"
    assert workload.acknowledged > 3 * seconds
    return nemesis.done


@pytest.mark.e2e
@pytest.mark.long
async def test_a_minute_of_faults_leaves_the_history_linearizable(tmp_path: Path) -> None:
    done = await chaos(tmp_path, seed=1, seconds=MINUTE)
    assert len(done) == FAULTS, f"some did not get their turn: {done}"


@pytest.mark.soak
async def test_half_an_hour_of_faults_leaves_the_history_linearizable(tmp_path: Path) -> None:
    done = await chaos(tmp_path, seed=time.time_ns(), seconds=HALF_HOUR)
    assert len(done) == FAULTS
    assert min(done.values()) >= 5
