"""A process killed at each boundary of a durable write loses no order and pays none twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from moreton.transactions.outbox.places import open_place
from support.nats_server import running_nats
from support.outbox_shop import KEYS, ask
from support.postgres_server import PostgresServer, running_postgres
from support.waits import ANSWER_SECONDS, line_of

ROOT = Path(__file__).parents[2]
OURS = ("outbox.", "relay.", "inbox.", "broker.")


class Shop:
    def __init__(self) -> None:
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
        self._program = subprocess.Popen(
            [sys.executable, "-m", "support.outbox_shop"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        names = self._answer()
        assert isinstance(names, list)
        self.failpoints = [name for name in names if name.startswith(OURS)]

    def run(self, database: str, broker: str, orders: int, failpoint: str = "") -> int:
        order = {"database": database, "broker": broker, "orders": orders, "failpoint": failpoint}
        assert self._program.stdin is not None
        self._program.stdin.write(json.dumps(order) + "\n")
        self._program.stdin.flush()
        status = self._answer()
        assert isinstance(status, int)
        return status

    def close(self) -> None:
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.close()
        assert self._program.wait(30) == 0
        self._program.stdout.close()

    def _answer(self) -> object:
        return json.loads(line_of(self._program.stdout, "how the process ended", ANSWER_SECONDS))


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.close()


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


def kill_at_each(shop: Shop, names: list[str], database: str, broker: str) -> None:
    """Each process takes over from the one killed before it, and adds orders; the last one ends."""
    for count, name in enumerate(names, 1):
        status = shop.run(database, broker, count * KEYS, name)
        assert status == -signal.SIGKILL, f"{name} was not reached"
    orders = (len(names) + 1) * KEYS
    assert shop.run(database, broker, orders) == 0
    place = open_place(database)
    paid = ask(place, "SELECT n, key, amount FROM payments")
    assert sorted(n for n, _, _ in paid) == list(range(orders)), "lost, or paid twice"
    assert sum(amount for *_, amount in paid) == ask(place, "SELECT sum(amount) FROM orders")[0][0]
    assert ask(place, "SELECT count(*) FROM moreton_aside") == [(0,)]
    for key in range(KEYS):
        order = [n for n, its, _ in paid if its == key]
        assert order == sorted(order), f"key {key}"
    place.close()
    print(f"killed at {len(names)} failpoints: {', '.join(names)}")


def of_tables(shop: Shop) -> list[str]:
    return [name for name in shop.failpoints if not name.startswith("broker.nats")]


def test_every_boundary_of_a_durable_write_has_a_failpoint(shop: Shop) -> None:
    assert len(of_tables(shop)) == 23
    assert len(shop.failpoints) == 25


def test_orders_are_paid_once_whichever_write_kills_the_process_on_sqlite(
    shop: Shop, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    kill_at_each(shop, of_tables(shop), url, url)


@pytest.mark.long
def test_orders_are_paid_once_whichever_write_kills_the_process_on_postgres(
    shop: Shop, postgres: PostgresServer
) -> None:
    url = postgres.new_database()
    kill_at_each(shop, of_tables(shop), url, url)


@pytest.mark.long
def test_orders_are_paid_once_whichever_write_to_nats_kills_the_process(
    shop: Shop, tmp_path: Path
) -> None:
    names = [name for name in shop.failpoints if name.startswith("broker.nats")]
    with running_nats(tmp_path) as server:
        kill_at_each(shop, names, f"sqlite:///{tmp_path}/shop.db", server.url)
