"""TCC and two-phase commits survive a SIGKILL at every boundary of a durable write.

A real process transfers money between two databases and kills itself at one failpoint; another
process goes on where it left off. Money is neither made nor lost, and nothing stays locked.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import bank_worker
from support.bank_worker import ABORTED, CENTS, COMMITTED, balance, found_bank
from support.postgres_server import PostgresServer
from support.waits import ANSWER_SECONDS, line_of

TESTS = Path(__file__).parents[1]
KILLED = -signal.SIGKILL
GIVEN, TAKEN = 100, 0
# Passed once for each of the two banks, and so there are two moments to die.
OF_EACH_BRANCH = {
    "barrier.passed",
    "tcc.ask",
    "tcc.answered",
    "twophase.prepare",
    "twophase.prepared",
    "twophase.commit",
    "twophase.committed",
}


class Worker:
    """Runs each command in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, bank_worker.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=TESTS,
        )
        self.failpoints: list[str] = json.loads(self._line())
        self.died_at: dict[str, set[str]] = {}

    def run(self, urls: list[str], kind: str, **command: Any) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"urls": urls, "kind": kind, **command}) + "\n")
        self._process.stdin.flush()
        status = int(self._line())
        if status == KILLED:
            self.died_at.setdefault(kind, set()).add(command["failpoint"])
        return status

    def stop(self) -> None:
        self._process.communicate("", timeout=30)

    def _line(self) -> str:
        return line_of(self._process.stdout, "how the process ended", ANSWER_SECONDS)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.stop()


@pytest.fixture(scope="module")
def server(postgres_of_session: PostgresServer) -> PostgresServer:
    return postgres_of_session


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def urls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    if request.param == "sqlite":
        folder = tmp_path_factory.mktemp("banks")
        made = [f"sqlite:///{folder / name}.db" for name in ("log", "giver", "taker")]
    else:
        server = request.getfixturevalue("server")
        made = [server.new_database() for _ in range(3)]
    found_bank(made[1], GIVEN)
    found_bank(made[2], TAKEN)
    return made


def moved(urls: list[str]) -> int:
    """How much was transferred in all; fails when money was made, lost, or is still held."""
    giver, taker = balance(urls[1]), balance(urls[2])
    assert giver[1:] == taker[1:] == (0, 0), "something is still reserved"
    assert giver[0] + taker[0] == GIVEN + TAKEN, "money was made or lost"
    return taker[0] - TAKEN


def check_kill(worker: Worker, urls: list[str], kind: str, name: str, nth: int) -> None:
    """Kill a transfer there, go on, and look."""
    before = moved(urls)
    if worker.run(urls, kind, failpoint=name, nth=nth) != KILLED:
        assert nth > 1, f"{name} was not passed"
    assert worker.run(urls, kind, recover=True) == 0
    assert moved(urls) - before in {0, CENTS}


def points(worker: Worker, kind: str) -> list[str]:
    return [
        name
        for name in worker.failpoints
        if name.startswith(f"{kind}.") and ".resolver." not in name and "one-phase" not in name
    ]


@pytest.mark.parametrize("kind", ["tcc", "twophase"])
def test_a_kill_anywhere_in_a_transfer_makes_and_loses_no_money(
    worker: Worker, urls: list[str], kind: str
) -> None:
    names = [*points(worker, kind), *(["barrier.passed"] if kind == "tcc" else [])]
    for name in names:
        check_kill(worker, urls, kind, name, 1)
        if name in OF_EACH_BRANCH:
            check_kill(worker, urls, kind, name, 2)
    before = moved(urls)
    assert worker.run(urls, kind) == COMMITTED
    assert moved(urls) == before + CENTS
    print(f"{kind}: {len(names)} failpoints, killed at each")


# What was decided, and what was not, goes on in opposite directions.
RECOVERIES = [
    ("tcc", "tcc.decided", ["tcc.answered"]),
    ("tcc", "tcc.begun", ["tcc.decided"]),
    ("twophase", "twophase.decided", ["twophase.resolver.end", "twophase.resolver.ended"]),
    ("twophase", "twophase.prepared", ["twophase.resolver.abort"]),
]
MORE_RECOVERIES = [
    ("tcc", "tcc.decided", ["tcc.ask", "tcc.end", "tcc.ended"]),
    ("tcc", "tcc.begun", ["tcc.decide", "tcc.ask", "tcc.end"]),
    ("twophase", "twophase.prepared", ["twophase.resolver.end", "twophase.resolver.ended"]),
]


@pytest.mark.parametrize(
    "plan", [RECOVERIES, pytest.param(MORE_RECOVERIES, marks=pytest.mark.soak)], ids=["few", "more"]
)
def test_a_kill_of_who_recovers_makes_and_loses_no_money(
    worker: Worker, urls: list[str], plan: list[tuple[str, str, list[str]]]
) -> None:
    for kind, first, names in plan:
        for name in names:
            before = moved(urls)
            assert worker.run(urls, kind, failpoint=first, nth=1) == KILLED
            assert worker.run(urls, kind, failpoint=name, nth=1, recover=True) == KILLED, name
            # Once its lease has run out, another one does what is left.
            assert worker.run(urls, kind, recover=True, later=2) == 0
            assert moved(urls) - before == (CENTS if first.endswith("decided") else 0), name


def test_a_refused_branch_undoes_the_others_whoever_dies(worker: Worker, urls: list[str]) -> None:
    for name in ("tcc.decided", "tcc.answered"):
        before = moved(urls)
        status = worker.run(urls, "tcc", failpoint=name, nth=1, refuse="taker")
        assert status == KILLED
        assert worker.run(urls, "tcc", recover=True) == 0
        assert moved(urls) == before
    assert worker.run(urls, "tcc", refuse="giver") == ABORTED
    assert moved(urls) == before


def test_a_kill_around_an_idempotent_request_pays_once(worker: Worker, urls: list[str]) -> None:
    for name in [*points(worker, "idempotency"), "barrier.passed"]:
        before = balance(urls[1])[0]
        key = f"key-{name}"
        assert worker.run(urls, "idempotency", failpoint=name, key=key) == KILLED
        for _ in range(2):
            assert worker.run(urls, "idempotency", key=key) == COMMITTED
        assert balance(urls[1])[0] == before - CENTS, name


def test_every_failpoint_was_died_at(worker: Worker) -> None:
    died = {name for names in worker.died_at.values() for name in names}
    homes = ("tcc.", "twophase.", "barrier.", "idempotency.")
    ours = {name for name in worker.failpoints if name.startswith(homes)}
    assert ours - died == {"twophase.one-phase"}  # an ordinary commit: nothing to recover
    print(f"{len(ours)} failpoints")
