"""A node whose process is killed: nothing that was answered is lost or done twice, 60 times."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from contract.raft_node import Numbers, host_of
from moreton.consensus.disk import found
from moreton.consensus.host import first_snapshot
from moreton.kernel.rng import seeded_rng

KILLS = 60
NODE = Path(__file__).with_name("raft_node.py")

pytestmark = pytest.mark.slow


@dataclass
class Told:
    """What one process said before it died."""

    opened: int | None = None
    begun: set[int] = field(default_factory=set)
    done: set[int] = field(default_factory=set)

    def hear(self, line: bytes) -> None:
        match line.decode().split():
            case ["opened", count]:
                self.opened = int(count)
            case ["begin", number]:
                self.begun.add(int(number))
            case ["done", number]:
                self.done.add(int(number))
            case other:
                raise AssertionError(other)


async def test_a_node_loses_nothing_answered_when_killed_60_times(tmp_path: Path) -> None:
    data = first_snapshot({1: "127.0.0.1:1"})
    found(tmp_path, cluster="killed", node=1, voters=[1], data=data)
    rng = seeded_rng("kill")
    answered: set[int] = set()
    killed_mid_write = killed_while_opening = unanswered = 0
    child = await _start(tmp_path)
    try:
        for kill in range(KILLS):
            dying, child = child, await _start(tmp_path)
            # Every tenth dies at once: while it reads its log, and begins the next segment.
            told = await _run_and_kill(dying, answers=rng.randrange(80) if kill % 10 else 0)
            answered |= told.done
            killed_mid_write += told.begun > told.done
            killed_while_opening += told.opened is None
            numbers = await _recovered(tmp_path)
            assert numbers.twice == 0
            assert answered <= numbers.numbers.keys()
            unanswered += len(told.begun & numbers.numbers.keys() - told.done)
    finally:
        child.kill()
        await child.wait()
    # The faults happened: processes died with proposals under way, before and after their sync.
    assert killed_mid_write > KILLS * 0.6
    assert killed_while_opening > 0
    assert unanswered > 0
    assert len(answered) > 10 * KILLS
    assert len(list(tmp_path.glob("*.snapshot"))) == 1
    # Every process began a segment, twice as many as kills: most are compacted away.
    assert len(list(tmp_path.glob("*.log"))) < KILLS


async def _start(folder: Path) -> asyncio.subprocess.Process:
    # It waits for a line before it opens the log: its start is not on the clock.
    pipe = asyncio.subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": str(NODE.parents[1])}
    return await asyncio.create_subprocess_exec(
        sys.executable, str(NODE), str(folder), stdin=pipe, stdout=pipe, env=environment
    )


async def _run_and_kill(child: asyncio.subprocess.Process, *, answers: int) -> Told:
    assert child.stdin is not None
    assert child.stdout is not None
    told = Told()
    child.stdin.write(b"go\n")
    async with asyncio.timeout(60):
        while len(told.done) < answers:
            told.hear(await child.stdout.readline())
    child.kill()
    assert await child.wait() == -signal.SIGKILL
    for line in (await child.stdout.read()).splitlines():
        told.hear(line)
    return told


async def _recovered(folder: Path) -> Numbers:
    numbers = Numbers()
    host = host_of(folder, numbers)
    await host.start()
    try:
        await host.read_barrier()
    finally:
        await host.close()
    return numbers
