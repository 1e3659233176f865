"""Several workers of one PostgreSQL: frozen, of the same name, and with the server restarted."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from moreton.store.errors import StoreInUse
from moreton.transactions.databases import open_database
from moreton.transactions.saga import Run, Saga, Sagas, Status, pivot
from support.forking import Forks
from support.postgres_server import PostgresServer
from support.saga_shop import Shop
from support.saga_worker import TOTAL, Bank, World

FIG = {"article": "fig"}
PATIENCE = timedelta(seconds=30)
PAUSE = threading.Event()  # between two looks
LEASE = timedelta(milliseconds=300)


@pytest.fixture
def postgres(postgres_of_session: PostgresServer) -> str:
    return postgres_of_session.new_schema()


def test_worker_that_was_frozen_past_its_lease_is_fenced_off(
    postgres: str, tmp_path: Path, forks: Forks
) -> None:
    world = World(tmp_path / "world")
    world.make()
    gate = tmp_path / "gate"
    frozen = forks.start(
        url=postgres, world=str(world.path), failpoint="", round=0, gate=str(gate), lease=0.3
    )
    bank = Bank(world)
    try:
        while not gate.exists():
            PAUSE.wait(0.005)
        os.kill(frozen, signal.SIGSTOP)  # within a step, after it moved the coin
        with Sagas(postgres, *bank.all, name="other", lease=LEASE) as sagas:
            outcome = sagas.find("gated").wait(PATIENCE)
            assert outcome.status is Status.COMPLETED
            row = sagas._shop.ledger.find("gated")
            assert row is not None
            assert row.epoch == 2  # it was taken from the other
            os.kill(frozen, signal.SIGCONT)
            assert forks.wait(frozen) == 0  # it says that it was fenced off
            assert sagas.find("gated").status() is Status.COMPLETED
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(frozen, signal.SIGCONT)
    assert world.total() == TOTAL
    assert world.in_force("gated") == {"debit", "fee", "credit", "settle", "tell"}


def test_two_workers_of_the_same_name_share_the_work(postgres: str) -> None:
    lock, seen = threading.Lock(), dict[str, int]()

    def worker() -> Sagas:
        @pivot
        def act(run: Run[Any]) -> None:
            with lock:
                seen[run.id] = seen.get(run.id, 0) + 1

        return Sagas(postgres, Saga("act", act), name="twin", workers=2)

    with worker() as one, worker() as two:
        saga = next(iter(one._sagas.values()))
        handles = [one.start(saga, id=f"s{number}") for number in range(60)]
        assert one._shop.owner != two._shop.owner
        assert all(handle.wait(PATIENCE) for handle in handles)
    assert seen == {f"s{number}": 1 for number in range(60)}


def test_sagas_go_on_after_the_server_was_restarted(
    postgres: str, postgres_of_session: PostgresServer
) -> None:
    shop = Shop()
    reached, restarted = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        reached.set()
        assert restarted.wait(30)

    shop.fails["pay"] = hold
    with Sagas(postgres, shop.order, lease=LEASE) as sagas:
        handle = sagas.start(shop.order, FIG, id="a")
        assert reached.wait(30)
        postgres_of_session.restart()
        restarted.set()
        assert handle.wait(PATIENCE)[shop.pay] == "pay of fig"
    assert shop.calls.count("stock") == 1


def test_second_engine_on_one_file_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    shop = Shop()
    url = f"sqlite:///{tmp_path}/sagas.sqlite"
    with Sagas(url, shop.order), pytest.raises(StoreInUse, match=f"process {os.getpid()}"):
        Sagas(url, shop.order).open()
    with Sagas(url, shop.order) as sagas:
        assert sagas.run(shop.order, FIG)


def test_role_that_is_set_to_another_isolation_makes_no_writes_fail(
    postgres_of_session: PostgresServer,
) -> None:
    options = quote("-c default_transaction_isolation=serializable")
    url = f"{postgres_of_session.new_database()}&options={options}"
    runs: Counter[str] = Counter()

    @pivot
    def act(run: Run[Any]) -> None:
        runs[run.id] += 1

    saga = Saga("act", act)
    with Sagas(url, saga) as one, Sagas(url, saga) as other, ThreadPoolExecutor(8) as pool:
        begun = [pool.submit(each.start, saga) for each in [one, other] * 60]
        assert all(future.result().wait(timedelta(seconds=30)) for future in begun)
    assert set(runs.values()) == {1}
    database = open_database(url)
    assert database.rows("SHOW transaction_isolation") == [("read committed",)]
    database.close()
