"""Programs that are the nodes of a cluster themselves, and compete in it."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from contract.raft_nodes import running_nodes
from support.programs import Program, running

pytestmark = [pytest.mark.e2e, pytest.mark.long]
PROGRAM = Path(__file__).with_name("contender.py")


async def wait_leads(program: Program, *, after: int = 0) -> tuple[Program, int, int]:
    """The program, the index of the line in which it says that it leads, and its token."""
    index = await program.wait_line(lambda line: line.startswith("leads "), after=after)
    return program, index, int(program.lines[index].split()[1])


async def first_that_leads(programs: list[Program]) -> tuple[Program, int, int]:
    tasks = [asyncio.create_task(wait_leads(p, after=len(p.lines))) for p in programs]
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    return done.pop().result()


async def test_stopped_leader_that_is_a_node_itself_knows_it_when_it_wakes_up(
    tmp_path: Path,
) -> None:
    async with running_nodes(tmp_path) as nodes:
        urls = [nodes.url(number) for number in nodes.stores]
    async with AsyncExitStack() as stack:
        programs = [
            await stack.enter_async_context(running(PROGRAM, "lead", url, f"node{n}", "2"))
            for n, url in enumerate(urls)
        ]
        leader, _, first = await first_that_leads(programs)
        leader.send(signal.SIGSTOP)
        others = [program for program in programs if program is not leader]
        successor, at, second = await first_that_leads(others)
        assert second > first
        await successor.wait_line(lambda line: line.startswith("wrote"), after=at)
        said = len(leader.lines)
        leader.send(signal.SIGCONT)
        ended = await leader.wait_line(lambda line: line in {"lost", "fenced"}, after=said)
        assert len(leader.lines[said:ended]) <= 1
        await successor.kill()
        _, _, third = await first_that_leads([p for p in programs if p is not successor])
        assert third > second
