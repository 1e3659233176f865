"""What an atomic change of two databases costs, against commits that are not atomic.

The same work each time: one row of each of two databases is updated, durably (PostgreSQL with
fsync, SQLite with synchronous = FULL). *one commit* does both in one database, as the monolith did;
*two commits* one after the other, as one does who hopes; *two-phase* by `TwoPhase`; *TCC* by a
`Coordinator` with participants in this process that ask their barriers; *barrier* is one commit of
one row behind its barrier. The log is in a database of the same kind. Contenders take turns, run by
run, so that other programs on the machine disturb all of them; a row is the median, and a ratio the
cost beside *two commits*. There is no peer in Python to measure.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console

from bench.outbox.servers import postgres
from bench.report import Result, median
from moreton.transactions.barrier import Act, Call, create_table, enter
from moreton.transactions.databases import open_database
from moreton.transactions.tcc import Coordinator, TccLog
from moreton.transactions.twophase import (
    DecisionLog,
    Participant,
    PostgresParticipant,
    SqliteParticipant,
    TwoPhase,
)

_AT_ONCE = 8
_BANKS = ("giver", "taker")
_NUMBERS = count()
Run = Callable[[], object]


class _Bank:
    """One database, and a connection to it that is kept."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = self.connect()
        create_table(self.connection)
        self.connection.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, cents BIGINT)")
        rows = ", ".join(f"({number}, 0)" for number in range(1, _AT_ONCE + 2))
        self.connection.execute(f"INSERT INTO account VALUES {rows}")  # noqa: S608 - our own
        self.connection.commit()

    def connect(self) -> Any:
        if self.url.startswith("sqlite:///"):
            path = self.url.removeprefix("sqlite:///")
            connection = sqlite3.connect(path, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            return connection
        return psycopg.connect(self.url)

    def change(self, connection: Any, by: int, row: int = 1) -> None:
        connection.execute(
            f"UPDATE account SET cents = cents + {by} WHERE id = {row}"  # noqa: S608 - our own
        )

    def commit_one(self, by: int) -> None:
        self.change(self.connection, by)
        self.connection.commit()

    def act(self, call: Call) -> None:
        """As a TCC participant: the reservation is the change, as for a seat."""
        if enter(self.connection, call) and call.act is Act.DO:
            self.change(self.connection, call.payload)
        self.connection.commit()

    def total(self) -> int:
        (found,) = self.connection.execute("SELECT sum(cents) FROM account").fetchone()
        self.connection.commit()
        return int(found)


def run(*, quick: bool, console: Console) -> Result:
    """Measure every contender on both databases."""
    runs = 50 if quick else 500
    ours: dict[str, float] = {}
    result = Result("twophase", "ms a change of two databases, median", ours)
    with tempfile.TemporaryDirectory() as folder, postgres() as url:
        for kind in ("sqlite", "postgres"):
            urls = [
                f"sqlite:///{folder}/{name}.db" if kind == "sqlite" else _new_database(url)
                for name in ("log", *_BANKS)
            ]
            console.print(f"{kind}: {runs} runs of each", highlight=False)
            with _contenders(kind, urls) as (contenders, banks, two_phase):
                found = _measure(contenders, runs)
                for name, times in found.items():
                    ours[f"{kind}, {name}"] = round(median(times) * 1000, 3)
                plain = ours[f"{kind}, two commits"]
                for name in ("one commit", "two-phase", "TCC"):
                    result.ratio[f"{kind}, two commits / {name}"] = plain / ours[f"{kind}, {name}"]
                ours[f"{kind}, two-phase, {_AT_ONCE} at once, changes/s"] = round(
                    _at_once(two_phase, banks, max(10, runs // 20))
                )
                held = sum(bank.total() for bank in banks) == 0
                result.checks[f"{kind}: money was neither made nor lost"] = held
    result.notes.append("a file of SQLite has one writer: at once there is in turn")
    return result


@contextmanager
def _contenders(
    kind: str, urls: list[str]
) -> Iterator[tuple[dict[str, Run], list[_Bank], TwoPhase]]:
    with ExitStack() as stack:
        banks = [_Bank(url) for url in urls[1:]]
        for bank in banks:
            stack.callback(bank.connection.close)
        giver, taker = banks
        database = open_database(urls[0])
        stack.callback(database.close)
        everybody = [_participant(name, bank.url) for name, bank in zip(_BANKS, banks, strict=True)]
        for one in everybody:
            stack.callback(one.close)
        two_phase = TwoPhase(DecisionLog(database), *everybody)
        stack.callback(two_phase.close)
        tcc = Coordinator(TccLog(database), dict(zip(_BANKS, (giver.act, taker.act), strict=True)))
        stack.callback(tcc.close)

        def one_commit() -> None:
            giver.change(giver.connection, -1)
            giver.change(giver.connection, 1, row=2)
            giver.connection.commit()

        def two_commits() -> None:
            giver.commit_one(-1)
            taker.commit_one(1)

        def behind_a_barrier() -> None:
            call = Call(f"{kind}-{next(_NUMBERS)}", "giver", Act.DO)
            if enter(giver.connection, call):
                giver.change(giver.connection, 0)
            giver.connection.commit()

        yield (
            {
                "one commit": one_commit,
                "two commits": two_commits,
                "two-phase": lambda: _transfer(two_phase, banks, 1),
                "TCC": lambda: tcc.run({"giver": -1, "taker": 1}),
                "barrier": behind_a_barrier,
            },
            banks,
            two_phase,
        )


def _new_database(url: str) -> str:
    name = f"bank_{next(_NUMBERS)}"
    with psycopg.connect(url.format("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return url.format(name)


def _participant(name: str, url: str) -> Participant:
    if url.startswith("sqlite:///"):
        return SqliteParticipant(name, Path(url.removeprefix("sqlite:///")))
    return PostgresParticipant(name, url)


def _transfer(two_phase: TwoPhase, banks: list[_Bank], row: int) -> None:
    with two_phase.begin() as work:
        for name, bank, by in zip(_BANKS, banks, (-1, 1), strict=True):
            bank.change(work[name], by, row)


def _measure(contenders: dict[str, Run], runs: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in contenders}
    # One run each in turn: how long a disk takes to be safe changes from one second to the next.
    for _ in range(runs):
        for name, change in contenders.items():
            began = time.perf_counter()
            change()
            found[name].append(time.perf_counter() - began)
    return found


def _at_once(two_phase: TwoPhase, banks: list[_Bank], runs: int) -> float:
    """Changes in a second when several want one, each of its own row."""
    began = time.perf_counter()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        rows = [2 + number % _AT_ONCE for number in range(runs * _AT_ONCE)]
        list(pool.map(lambda row: _transfer(two_phase, banks, row), rows))
    return runs * _AT_ONCE / (time.perf_counter() - began)
