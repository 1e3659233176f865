"""A node whose process is killed: nothing that was answered is lost or done twice, 60 times."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from contract.raft_node import Numbers, host_of
from moreton.consensus.disk import found
from moreton.consensus.host import first_snapshot
from moreton.kernel.rng import seeded_rng
from support.forking import Ear, Forks, an_ear

KILLS = 60

pytestmark = pytest.mark.long


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


@pytest.fixture
def forks() -> Iterator[Forks]:
    forks = Forks("contract.raft_node")
    yield forks
    forks.close()


async def test_a_node_loses_nothing_answered_when_killed_60_times(
    tmp_path: Path, forks: Forks
) -> None:
    data = first_snapshot({1: "127.0.0.1:1"})
    found(tmp_path, cluster="killed", node=1, voters=[1], data=data)
    rng = seeded_rng("kill")
    answered: set[int] = set()
    killed_mid_write = killed_while_opening = unanswered = 0
    async with an_ear() as ear:
        for kill in range(KILLS):
            pid = forks.start(folder=str(tmp_path), ear=ear.port)
            # Every tenth dies at once: while it reads its log, and begins the next segment.
            told = await _hear_and_kill(pid, ear, answers=rng.randrange(80) if kill % 10 else 0)
            assert forks.wait(pid) == -signal.SIGKILL
            answered |= told.done
            killed_mid_write += told.begun > told.done
            killed_while_opening += told.opened is None
            numbers = await _recovered(tmp_path)
            assert numbers.twice == 0
            assert answered <= numbers.numbers.keys()
            unanswered += len(told.begun & numbers.numbers.keys() - told.done)
    # The faults happened: processes died with proposals under way, before and after their sync.
    assert killed_mid_write > KILLS * 0.6
    assert killed_while_opening > 0
    assert unanswered > 0
    assert len(answered) > 10 * KILLS
    assert len(list(tmp_path.glob("*.snapshot"))) == 1
    # Every process began a segment, twice as many as kills: most are compacted away.
    assert len(list(tmp_path.glob("*.log"))) < KILLS


async def _hear_and_kill(pid: int, ear: Ear, *, answers: int) -> Told:
    told = Told()
    async with asyncio.timeout(60), ear.hearing() as said:
        while len(told.done) < answers:
            told.hear(await said.readline())
        os.kill(pid, signal.SIGKILL)
        for line in (await said.read()).splitlines():
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
