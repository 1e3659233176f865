"""Programs that compete in a real etcd, stopped, killed and interrupted."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from moreton.election import Election, Lock
from moreton.sim.linearizability import CasRegister, check_history, pair_events, read_events
from moreton.store import Put, Store, open_store
from support.contenders import holding, queued, standing
from support.etcd_server import EtcdServer, running_etcd
from support.programs import Program, running

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
PROGRAM = Path(__file__).with_name("contender.py")
TTL = "1"
HOURS = "7200"


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    with running_etcd(tmp_path) as server:
        yield server


@pytest.fixture
async def store(etcd: EtcdServer) -> AsyncIterator[Store]:
    opened = open_store(etcd.url())
    yield opened
    await opened.close()


def contender(
    mode: str, name: str, etcd: EtcdServer, ttl: str = TTL
) -> AbstractAsyncContextManager[Program]:
    return running(PROGRAM, mode, etcd.url(), name, ttl)


async def wait_leads(program: Program, *, after: int = 0) -> tuple[int, int]:
    """The index of the line in which it says that it leads, and its token."""
    index = await program.wait_line(lambda line: line.startswith("leads "), after=after)
    return index, int(program.lines[index].split()[1])


async def writers_after(store: Store, writer: bytes, token: int) -> set[bytes]:
    """Who has written to the work since the first write that *writer* made with *token*."""
    now = (await store.range(b"work")).kvs[0]
    seen: set[bytes] = set()
    async with store.watch(b"work", from_revision=token) as batches:
        async for batch in batches:
            names = {event.kv.value.split()[0] for event in batch.events}
            if seen or writer in names:
                seen |= names
            if batch.revision >= now.mod_revision:
                return seen
    raise AssertionError("a watch does not end")


async def test_stopped_leader_that_wakes_up_knows_it_and_cannot_write(
    etcd: EtcdServer, store: Store
) -> None:
    queue = Election(store, "jobs")._queue
    async with contender("lead", "one", etcd) as one, contender("lead", "two", etcd) as two:
        leads = {program: asyncio.create_task(wait_leads(program)) for program in (one, two)}
        await asyncio.wait(leads.values(), return_when=asyncio.FIRST_COMPLETED)
        first, second = (one, two) if leads[one].done() else (two, one)
        await queued(queue, 2)
        first.send(signal.SIGSTOP)
        at, token = await leads[second]
        await second.wait_line(lambda line: line.startswith("wrote"), after=at)
        said = len(first.lines)
        first.send(signal.SIGCONT)
        ended = await first.wait_line(lambda line: line in {"lost", "fenced"}, after=said)
        # Only the step that was under way when it was stopped.
        assert len(first.lines[said:ended]) <= 1
        writer = b"one" if second is one else b"two"
        assert await writers_after(store, writer, token) == {writer}
        await queued(queue, 2)
        await second.kill()
        _, last = await wait_leads(first, after=ended)
        assert last > token


async def test_leader_that_is_killed_is_replaced_when_its_lease_ends(
    etcd: EtcdServer, store: Store
) -> None:
    async with contender("lead", "one", etcd) as one:
        _, first = await wait_leads(one)
        async with contender("lead", "two", etcd) as two:
            await queued(Election(store, "jobs")._queue, 2)
            await one.kill()
            _, second = await wait_leads(two)
            assert second > first


async def test_leader_whose_store_is_gone_stops_in_time_and_leads_again_when_it_is_back(
    etcd: EtcdServer,
) -> None:
    async with contender("lead", "one", etcd) as one:
        _, first = await wait_leads(one)
        etcd.pause()
        lost = await one.wait_line(lambda line: line in {"lost", "fenced"})
        assert one.lines[lost] == "lost"
        etcd.go_on()
        _, second = await wait_leads(one, after=lost)
        assert second > first


async def test_leader_and_queue_outlive_a_restart_of_the_store(
    etcd: EtcdServer, store: Store
) -> None:
    election = Election(store, "jobs", ttl=timedelta(seconds=20))
    async with holding(election.campaign(b"first")) as first:
        second = await standing(election.campaign(b"second"), election._queue)
        until = first._place._tenure.held_until
        await asyncio.to_thread(etcd.restart)
        while first._place._tenure.held_until == until:
            await asyncio.sleep(0.01)
        assert first.is_held
        await first.write([Put(b"work", b"first")])
    assert (await second.wait_in()).token > first.token
    await second.let_go()


@pytest.mark.parametrize("mode", ["wait", "thread"])
async def test_program_that_is_interrupted_while_it_waits_leaves_the_queue(
    mode: str, etcd: EtcdServer, store: Store
) -> None:
    lock = Lock(store, "till", ttl=timedelta(hours=1))
    async with lock, contender(mode, "one", etcd, HOURS) as one:
        await queued(lock._bid.queue, 2)
        one.send(signal.SIGINT)
        await one.wait_line(lambda line: line == "interrupted")
        await one.wait_ended()
        await queued(lock._bid.queue, 1)


async def test_forked_child_has_a_store_of_its_own_and_nothing_that_its_parent_holds(
    etcd: EtcdServer,
) -> None:
    async with contender("fork", "one", etcd, HOURS) as one:
        assert await one.wait_ended() == 0
    assert one.lines == [
        "child holds: False",
        "child: this process was forked from its holder",
        "child may not",
        "child may not",
        "child has lost it: True",
        "child is not let in",
        "child has a store of its own",
        "parent holds: True",
    ]


@pytest.mark.long
async def test_counter_under_a_lock_is_linearizable_whoever_is_stopped_or_killed(
    etcd: EtcdServer, store: Store
) -> None:
    programs: list[Program] = []
    async with AsyncExitStack() as stack:

        async def start() -> None:
            name = f"life {len(programs)}"
            programs.append(await stack.enter_async_context(contender("count", name, etcd, "2")))

        for _ in range(3):
            await start()
        for rounds in range(2):
            await counted(store, 30 * (rounds + 1))
            holder = await holding_program(store, programs)
            holder.send(signal.SIGSTOP)
            await moved_on(store, holder, programs)
            holder.send(signal.SIGCONT)
            await (await holding_program(store, programs)).kill()
            await start()
        await counted(store, 100)
        lines = sorted(
            (line for program in programs for line in program.lines if line.startswith("{")),
            key=lambda line: float(line.rsplit('"time": ', 1)[1].rstrip("}")),
        )
    calls = pair_events(read_events(lines))
    assert len(calls) >= 100
    assert len({call.process for call in calls}) >= 3
    verdict = check_history(calls, CasRegister())
    assert verdict.is_linearizable, str(verdict)


async def holding_program(store: Store, programs: list[Program]) -> Program:
    """The living program that holds the lock now."""
    while True:
        for holder in await Lock(store, "counter").holders():
            program = programs[int(holder.value.split()[1])]
            if program.process.returncode is None:
                return program
        await asyncio.sleep(0.01)


async def moved_on(store: Store, holder: Program, programs: list[Program]) -> None:
    """Return once another one holds the lock."""
    while await holding_program(store, programs) is holder:
        await asyncio.sleep(0.01)


async def counted(store: Store, least: int) -> None:
    """Return once the counter is at *least*."""
    while True:
        found = (await store.range(b"counter")).kvs
        if found and int(found[0].value) >= least:
            return
        await asyncio.sleep(0.01)
