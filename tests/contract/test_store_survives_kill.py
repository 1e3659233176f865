"""A store file whose process is killed: nothing that was answered is lost, 200 times."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from moreton.kernel.rng import seeded_rng
from moreton.store import LeaseId
from moreton.store.host import LocalStore
from moreton.store.sqlite import open_sqlite_store
from support.forking import Ear, Forks, an_ear

KILLS = 200

pytestmark = pytest.mark.long


@dataclass
class Told:
    """What one writer process said before it died."""

    begun: dict[int, int] = field(default_factory=dict)
    done: list[tuple[int, int, int]] = field(default_factory=list)
    lease: LeaseId | None = None

    def hear(self, line: bytes) -> None:
        match line.decode().split():
            case ["begin", writer, number]:
                self.begun[int(writer)] = int(number)
            case ["done", writer, number, revision]:
                self.done.append((int(writer), int(number), int(revision)))
            case ["granted", lease]:
                self.lease = LeaseId(int(lease))
            case ["revoking", _]:
                self.lease = None
            case other:
                assert other == ["opening"]

    def under_way(self) -> int:
        finished = {writer: number for writer, number, _ in self.done}
        return sum(finished.get(writer) != number for writer, number in self.begun.items())


@pytest.fixture
def forks() -> Iterator[Forks]:
    forks = Forks("contract.store_writer")
    yield forks
    forks.close()


async def test_store_loses_nothing_answered_when_killed_200_times(
    tmp_path: Path, forks: Forks
) -> None:
    path = tmp_path / "store.sqlite"
    rng = seeded_rng("kill")
    killed_mid_write = killed_while_opening = committed_unanswered = answered = 0
    numbers: dict[int, int] = {}
    async with an_ear() as ear:
        for kill in range(KILLS):
            pid = forks.start(path=str(path), ear=ear.port)
            # Every tenth dies at once: while it makes the file, or recovers it.
            told = await _hear_and_kill(pid, ear, answers=rng.randrange(60) if kill % 10 else 0)
            assert forks.wait(pid) == -signal.SIGKILL
            killed_mid_write += told.under_way() > 0
            killed_while_opening += not told.begun
            answered += len(told.done)
            found = await _check(path, told, numbers)
            last = {writer: number for writer, number, _ in told.done}
            committed_unanswered += any(
                found[writer] > last.get(writer, numbers.get(writer, 0)) for writer in told.begun
            )
            numbers = found
    # The faults happened: processes died with writes under way, before and after their commit.
    assert killed_mid_write > KILLS * 0.8
    assert killed_while_opening > 0
    assert committed_unanswered > 0
    assert answered > 10 * KILLS


async def _hear_and_kill(pid: int, ear: Ear, *, answers: int) -> Told:
    told = Told()
    async with asyncio.timeout(30), ear.hearing() as said:
        told.hear(await said.readline())
        while len(told.done) < answers:
            told.hear(await said.readline())
        os.kill(pid, signal.SIGKILL)
        for line in (await said.read()).splitlines():
            told.hear(line)
    return told


async def _check(path: Path, told: Told, before: dict[int, int]) -> dict[int, int]:
    """Everything *told* is in the file; the last number of each writer."""
    store = open_sqlite_store(path)
    try:
        await _check_answers(store, told)
        numbers = await _check_numbers(store, told, before)
        if told.lease is not None:
            await store.keep_alive(told.lease)
    finally:
        await store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()
    return numbers


async def _check_answers(store: LocalStore, told: Told) -> None:
    numbers = store.statistics()
    revisions = [revision for _, _, revision in told.done]
    assert revisions == sorted(set(revisions)), "answers come in order of revisions"
    assert numbers.revision >= max(revisions, default=1)
    for writer, number, revision in told.done:
        if revision >= numbers.compact_revision:
            (kv,) = (await store.range(b"one/%d" % writer, revision=revision)).kvs
            assert (kv.mod_revision, kv.value.split(b" ")[0]) == (revision, b"%d" % number)


async def _check_numbers(store: LocalStore, told: Told, before: dict[int, int]) -> dict[int, int]:
    numbers: dict[int, int] = {}
    answered = {writer: number for writer, number, _ in told.done}
    ones = (await store.range(b"one/", b"one0")).kvs
    others = (await store.range(b"other/", b"other0")).kvs
    assert [kv.value for kv in ones] == [kv.value for kv in others], "a transaction was split"
    for kv in ones:
        writer, number = int(kv.key.removeprefix(b"one/")), int(kv.value.split(b" ")[0])
        least = answered.get(writer, before.get(writer, 0))
        assert least <= number <= told.begun.get(writer, least)
        numbers[writer] = number
    assert numbers.keys() >= answered.keys()
    assert numbers.keys() >= before.keys()
    return numbers
