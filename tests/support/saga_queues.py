"""Sagas of a queue, which count how many of them are worked on at once over all processes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from moreton.transactions.saga import Run, Saga, Sagas, step
from moreton.transactions.saga.queues import Queue

BANK = Queue("bank", at_once=2, per_engine=1)
LEASE = timedelta(milliseconds=300)
PAUSE = threading.Event()  # between two looks
SECONDS_MAX = 30


class Counter:
    """A file in which each call notes that it begins and ends."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        with self._db() as db:
            db.execute("CREATE TABLE calls (process INTEGER, at_work INTEGER, beside INTEGER)")

    def enter(self) -> None:
        with self._db() as db:
            (beside,) = db.execute("SELECT count(*) FROM calls WHERE at_work = 1").fetchone()
            db.execute("INSERT INTO calls VALUES (?, 1, ?)", (os.getpid(), beside))

    def leave(self, process: int | None = None) -> None:
        """One call of this process ended, or all of a *process* that was killed."""
        with self._db() as db:
            db.execute(
                "UPDATE calls SET at_work = 0 WHERE process = ? AND at_work = 1",
                (process or os.getpid(),),
            )

    def seen(self) -> tuple[set[int], int, int]:
        """Which processes were called, how often, and the most calls that were at work at once."""
        with self._db() as db:
            rows = db.execute("SELECT process, beside FROM calls").fetchall()
        return (
            {process for process, _ in rows},
            len(rows),
            max((b for _, b in rows), default=-1) + 1,
        )

    @contextlib.contextmanager
    def _db(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self.path, timeout=SECONDS_MAX, isolation_level=None)
        try:
            db.execute("PRAGMA synchronous = OFF")
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
        finally:
            db.close()


def of(counter: Counter, until: Callable[[], bool]) -> Saga:
    """A saga of one step, which is at work *until* that holds."""

    @step(harmless=True)
    def call(_: Run[Any]) -> None:
        counter.enter()
        wait_until(until)
        counter.leave()

    return Saga("call", call)


def work(order: Mapping[str, Any]) -> None:
    """A process that takes from the queue until it is stopped, or *stuck*, killed."""
    counter, stop = Counter(Path(order["counter"])), Path(order["stop"])
    both = lambda: len(counter.seen()[0]) > 1  # noqa: E731
    saga = of(counter, stop.exists if order["stuck"] else both)
    with Sagas(order["url"], saga, queues=[BANK], lease=LEASE):
        wait_until(stop.exists)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        PAUSE.wait(0.005)
