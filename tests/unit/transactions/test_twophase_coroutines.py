from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from moreton.transactions.twophase import SqliteParticipant, TwoPhase, open_decisions

NAMES = ("orders", "stock")


@pytest.fixture
def two_phase(tmp_path: Path) -> Iterator[TwoPhase]:
    for name in NAMES:
        with closing(sqlite3.connect(tmp_path / name)) as connection:
            connection.execute("CREATE TABLE thing (n INTEGER)")
    log = open_decisions(f"sqlite:///{tmp_path}/log.db")
    participants = [SqliteParticipant(name, tmp_path / name) for name in NAMES]
    found = TwoPhase(log, *participants)
    yield found
    found.close()
    log.close()
    for one in participants:
        one.close()


def rows(tmp_path: Path) -> list[list[Any]]:
    found = []
    for name in NAMES:
        with closing(sqlite3.connect(tmp_path / name)) as connection:
            found.append(connection.execute("SELECT n FROM thing").fetchall())
    return found


async def test_coroutine_commits_in_both_databases(two_phase: TwoPhase, tmp_path: Path) -> None:
    async with two_phase.begin_async() as work:
        for name in NAMES:
            assert await work.execute(name, "INSERT INTO thing VALUES (?)", [1]) == []
            assert await work.execute(name, "SELECT n FROM thing") == [(1,)]
    assert not work.pending
    assert rows(tmp_path) == [[(1,)], [(1,)]]


async def test_coroutine_that_fails_changes_nothing(two_phase: TwoPhase, tmp_path: Path) -> None:
    async def fail() -> None:
        async with two_phase.begin_async() as work:
            await work.execute("orders", "INSERT INTO thing VALUES (1)")
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert rows(tmp_path) == [[], []]


async def test_cancelled_coroutine_waits_for_its_call_and_changes_nothing(
    two_phase: TwoPhase, tmp_path: Path
) -> None:
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def insert(connection: Any) -> None:
        begun.set()
        assert go_on.wait(30)
        connection.execute("INSERT INTO thing VALUES (1)")
        done.set()

    async def sell() -> None:
        async with two_phase.begin_async() as work:
            await work.call("orders", insert)

    task = asyncio.create_task(sell())
    assert await asyncio.to_thread(begun.wait, 30)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done.is_set()
    assert rows(tmp_path) == [[], []]
