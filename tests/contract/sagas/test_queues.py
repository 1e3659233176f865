"""Queues of sagas, on both databases."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from moreton.kernel.quantities import Rate
from moreton.transactions.saga import Child, Run, Saga, Sagas, Signal, Status, step
from moreton.transactions.saga.errors import SagasFull
from moreton.transactions.saga.queues import Queue
from moreton.transactions.saga.queues.table import Entry, QueueTable
from moreton.transactions.saga.schedules import Every, Schedule, firing
from moreton.transactions.saga.schedules.timetable import Timetable
from support.forking import Forks
from support.postgres_server import PostgresServer
from support.saga_queues import BANK, LEASE, SECONDS_MAX, Counter, of, wait_until

PATIENCE = timedelta(seconds=SECONDS_MAX)


@step(harmless=True)
def look(run: Run[Any]) -> Any:
    return run.input


LOOK = Saga("look", look)


def entry_of(sagas: Sagas, name: str) -> Entry:
    return QueueTable(sagas._shop.ledger).entries()[name]


def pause(sagas: Sagas, name: str, *, paused: bool) -> None:
    QueueTable(sagas._shop.ledger).pause(name, paused=paused)


def test_no_more_than_the_queue_allows_are_at_work_and_all_come_to_their_end(
    url: str, tmp_path: Path
) -> None:
    counter = Counter(tmp_path / "calls")
    counter.make()
    saga = of(counter, lambda: counter.seen()[1] > 1)
    queue = Queue("two", at_once=2)
    with Sagas(url, saga, queues=[queue]) as sagas:
        handles = [sagas.start(saga, queue=queue) for _ in range(8)]
        assert all(handle.wait(PATIENCE) for handle in handles)
    assert counter.seen() == ({os.getpid()}, 8, 2)


def test_processes_share_the_places_of_a_queue(
    postgres_of_session: PostgresServer, tmp_path: Path, forks: Forks
) -> None:
    url, counter = postgres_of_session.new_schema(), Counter(tmp_path / "calls")
    counter.make()
    order = {"url": url, "counter": str(counter.path), "stop": str(tmp_path / "stop")}
    workers = [forks.start(**order, stuck=False) for _ in range(2)]
    try:
        saga = of(counter, lambda: True)
        with Sagas(url, saga) as sagas:  # which only begins them
            handles = [sagas.start(saga, queue=BANK) for _ in range(6)]
            assert all(handle.wait(PATIENCE) for handle in handles)
    finally:
        (tmp_path / "stop").touch()
        ends = [forks.wait(worker) for worker in workers]
    assert ends == [0, 0]
    assert counter.seen() == (set(workers), 6, 2)


def test_places_of_a_killed_process_come_back(url: str, tmp_path: Path, forks: Forks) -> None:
    counter = Counter(tmp_path / "calls")
    counter.make()
    saga = of(counter, lambda: True)
    with Sagas(url, saga, lease=LEASE) as sagas:
        for number in range(3):
            sagas.start(saga, id=f"s{number}", queue=BANK)
    order = {"url": url, "counter": str(counter.path), "stop": str(tmp_path / "stop")}
    worker = forks.start(**order, stuck=True)
    wait_until(lambda: counter.seen()[1] == 1)
    os.kill(worker, signal.SIGKILL)
    assert forks.wait(worker) == -signal.SIGKILL
    counter.leave(worker)
    with Sagas(url, saga, queues=[BANK], lease=LEASE) as sagas:
        assert all(sagas.find(f"s{number}").wait(PATIENCE) for number in range(3))
        assert entry_of(sagas, "bank").running == 0
    assert counter.seen() == ({worker, os.getpid()}, 4, 1)


def test_rate_counts_what_begins_over_restarts_and_nothing_that_goes_on(url: str) -> None:
    go = Signal("go")
    saga = Saga("asked", go, look)
    queue = Queue("slow", rate="2/h")
    with Sagas(url, saga, queues=[queue]) as sagas:
        for number in range(4):
            sagas.start(saga, number, id=f"s{number}", queue=queue)
        wait_until(lambda: sagas.counts().get(Status.WAITING, 0) == 2)
    with Sagas(url, saga, queues=[queue]) as sagas:
        for name in ("s0", "s1"):
            sagas.signal(name, "go")
            assert sagas.find(name).wait(PATIENCE)
        entry = entry_of(sagas, "slow")
        assert (entry.waiting, entry.running, entry.rate) == (2, 0, "2/h")
        with sagas._shop.ledger.changing("queue") as change:  # as if an hour passed
            change.execute("UPDATE @saga_queue_starts SET at = at - 3600000000")
        wait_until(lambda: entry_of(sagas, "slow").waiting == 0)


def test_calendar_that_was_set_back_shuts_no_queue(url: str) -> None:
    queue = Queue("slow", rate="1/min")
    with Sagas(url, LOOK, queues=[queue]) as sagas:
        assert sagas.run(LOOK, queue=queue)
        with sagas._shop.ledger.changing("queue") as change:  # it began in a year
            change.execute("UPDATE @saga_queue_starts SET at = at + 31536000000000")
        handle = sagas.start(LOOK, queue=queue)

        def is_counted_anew() -> bool:
            now = sagas._shop.ledger.now_nanos() // 1000
            with sagas._shop.ledger.looking() as change:
                return bool(change.execute("SELECT max(at) FROM @saga_queue_starts")[0][0] <= now)

        wait_until(is_counted_anew)
        assert handle.status() is Status.READY


def test_those_of_higher_priority_begin_first(url: str) -> None:
    seen: list[Any] = []

    @step(harmless=True)
    def note(run: Run[Any]) -> None:
        seen.append(run.input)

    saga, queue = Saga("note", note), Queue("one", at_once=1)
    with Sagas(url, saga, queues=[queue]) as sagas:
        pause(sagas, "one", paused=True)
        handles = [sagas.start(saga, number, priority=number, queue=queue) for number in (0, 5, 1)]
        assert entry_of(sagas, "one").waiting == 3
        pause(sagas, "one", paused=False)
        assert all(handle.wait(PATIENCE) for handle in handles)
    assert seen == [5, 1, 0]


def test_saga_that_waits_lets_the_next_one_in(url: str) -> None:
    saga, queue = Saga("asked", Signal("go")), Queue("one", at_once=1)
    with Sagas(url, saga, LOOK, queues=[queue]) as sagas:
        first = sagas.start(saga, queue=queue)
        assert sagas.start(LOOK, queue=queue).wait(PATIENCE)
        sagas.signal(first.id, "go")
        assert first.wait(PATIENCE)


def test_children_and_schedules_go_through_a_queue(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firing, "_LOOK_SECONDS", 0.02)
    queue = Queue("one", at_once=1)
    parent = Saga("parent", Child(LOOK, queue=queue))
    seldom = Schedule("seldom", LOOK, Every(timedelta(days=99)), queue=queue)
    with Sagas(url, parent, schedules=[seldom], queues=[queue]) as sagas:
        pause(sagas, "one", paused=True)
        handle = sagas.start(parent)
        ledger = sagas._shop.ledger
        Timetable(ledger).hasten("seldom", ledger.now_nanos() // 1000)
        wait_until(lambda: entry_of(sagas, "one").waiting == 2)
        pause(sagas, "one", paused=False)
        assert handle.wait(PATIENCE)
        rows = ledger.listed(status=None, name=None, most=9, queue="one")
        assert {row.name for row in rows} == {"look"}
        assert all(sagas.find(row.id).wait(PATIENCE) for row in rows)
        assert len(rows) == 2


def test_fork_of_a_queued_saga_is_queued(url: str) -> None:
    queue = Queue("one", at_once=1)
    with Sagas(url, LOOK, queues=[queue]) as sagas:
        assert sagas.run(LOOK, id="a", queue=queue)
        assert sagas.fork("a", "look", new_id="b").wait(PATIENCE)
        assert sagas._shop.ledger.find("b").queue == "one"  # type: ignore[union-attr]
        rows = sagas._shop.ledger.listed(status=None, name=None, most=9, queue="one")
        assert [row.id for row in rows] == ["b", "a"]


async def test_coroutines_go_through_a_queue(url: str) -> None:
    at_work, most = 0, 0

    @step(harmless=True)
    async def call(_: Run[Any]) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0)  # so that another could come in
        at_work -= 1

    saga, queue = Saga("call", call), Queue("one", at_once=1)
    async with Sagas(url, saga, queues=[queue]) as sagas:
        handles = [await sagas.start_async(saga, queue=queue) for _ in range(5)]
        assert [bool(await handle.wait_async(PATIENCE)) for handle in handles] == [True] * 5
        assert await sagas.run_async(saga, queue=queue)
    assert most == 1


def test_engine_takes_only_from_the_queues_that_it_is_given(url: str) -> None:
    mine, theirs = Queue("mine"), Queue("theirs")
    with Sagas(url, LOOK, queues=[mine]) as sagas:
        left = sagas.start(LOOK, id="left", queue=theirs)
        assert sagas.run(LOOK, queue=mine)
        assert sagas.run(LOOK)
        assert left.status() is Status.READY
    with Sagas(url, LOOK, queues=[theirs]) as sagas:
        assert sagas.find("left").wait(PATIENCE)


def test_limits_are_those_of_the_engine_that_opened_last(url: str) -> None:
    with Sagas(url, LOOK, queues=[Queue("one", at_once=1, rate="20/5min")]) as sagas:
        pause(sagas, "one", paused=True)
        entry = entry_of(sagas, "one")
        assert (entry.at_once, entry.per_engine, entry.rate) == (1, None, "20/5min")
    with Sagas(url, LOOK, queues=[Queue("one", per_engine=3)]) as sagas:
        entry = entry_of(sagas, "one")
        assert (entry.at_once, entry.per_engine, entry.rate, entry.paused) == (None, 3, "", 1)


def fill(sagas: Sagas, queue: Queue) -> int:
    """Begin sagas until that is refused; how many."""
    for begun in range(100):
        try:
            sagas.start(LOOK, queue=queue)
        except SagasFull:
            return begun
    raise AssertionError("nothing was refused")


def test_child_is_begun_however_many_wait_in_its_queue(url: str) -> None:
    queue = Queue("one", at_once=1)
    parent = Saga("parent", Signal("go"), Child(LOOK, queue=queue))
    with Sagas(url, parent, queues=[queue], pending_max=3) as sagas:
        pause(sagas, "one", paused=True)
        handle = sagas.start(parent)
        wait_until(lambda: handle.status() is Status.WAITING)
        begun = fill(sagas, queue)
        assert 1 <= begun <= 3
        sagas.signal(handle.id, "go")
        wait_until(lambda: entry_of(sagas, "one").waiting == begun + 1)
        pause(sagas, "one", paused=False)
        assert handle.wait(PATIENCE)


def test_engines_together_let_in_no_more_than_each_may(postgres_of_session: PostgresServer) -> None:
    url, queue = postgres_of_session.new_schema(), Queue("one")
    with (
        Sagas(url, LOOK, queues=[queue], pending_max=5) as one,
        Sagas(url, LOOK, pending_max=5) as other,
    ):
        pause(one, "one", paused=True)
        begun = fill(one, queue) + fill(other, queue)
        assert 5 <= begun <= 2 * 5
        assert entry_of(one, "one").waiting == begun
        pause(one, "one", paused=False)
        wait_until(lambda: one.counts().get(Status.COMPLETED, 0) == begun)


def test_queue_that_cannot_be_meant_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="at_once is 0: none would ever be taken"):
        Queue("one", at_once=0)
    with pytest.raises(TypeError, match="per_engine is '3'"):
        Queue("one", per_engine="3")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is not a rate"):
        Queue("one", rate="fast")
    with pytest.raises(TypeError, match="rate is 5"):
        Queue("one", rate=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a whole number from 1 to 10,000"):
        Queue("one", rate=Rate(0.5, timedelta(seconds=1)))
    with pytest.raises(ValueError, match="name is ' '"):
        Queue(" ")
    with pytest.raises(ValueError, match='two queues are called "one"'):
        Sagas(url, LOOK, queues=[Queue("one"), Queue("one", at_once=2)])
    with pytest.raises(TypeError, match="queues is 'one'"):
        Sagas(url, LOOK, queues=["one"])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="give a list of Queue"):
        Sagas(url, LOOK, queues=Queue("one"))  # type: ignore[arg-type]
    for name in ("a\nb", "a\0b", "a\ud800", "a" * 201):
        with pytest.raises(ValueError, match="give up to 200 letters"):
            Queue(name)
    with pytest.raises(TypeError, match="queue is 'one'"):
        Child(LOOK, queue="one")  # type: ignore[arg-type]
    with Sagas(url, LOOK, queues=[Queue("one")]) as sagas:
        with pytest.raises(TypeError, match="queue is 'one'"):
            sagas.start(LOOK, queue="one")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match='two queues are called "one"'):
            sagas.start(LOOK, queue=Queue("one", at_once=2))
        with pytest.raises(TypeError, match="priority is 'high'"):
            sagas.start(LOOK, priority="high")  # type: ignore[arg-type]
        assert sagas.counts() == {}
