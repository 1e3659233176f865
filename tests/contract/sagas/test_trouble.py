"""A full disk, a calendar that jumps, a step that ends its process, a log that does not fit."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from moreton.store.errors import NotAStore, StoreFull
from moreton.transactions.saga import Saga, Sagas, Status
from moreton.transactions.saga.clock import LogClock
from moreton.transactions.saga.hosting.workshop import TAKEOVERS_MAX
from support.saga_shop import Shop

FIG = {"article": "fig"}
PATIENCE = timedelta(seconds=30)
PAUSE = threading.Event()  # between two looks
HOUR = 3600 * 10**9


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sagas.sqlite"


def test_sagas_go_on_by_themselves_after_the_disk_was_full(path: Path) -> None:
    shop = Shop()
    with Sagas(f"sqlite:///{path}", shop.order) as sagas:
        db = sagas._shop.ledger._db  # type: ignore[attr-defined]

        def fill(_: object) -> None:
            (pages,) = db.execute("PRAGMA page_count").fetchone()
            db.execute(f"PRAGMA max_page_count = {pages}")

        shop.fails["pay"] = fill
        handle = sagas.start(shop.order, {"article": "fig" * 5000}, id="a")
        while not sagas._shop.stranded:
            PAUSE.wait(0.005)
        with pytest.raises(StoreFull):
            sagas.start(shop.order, {"article": "fig" * 5000}, id="b")
        shop.fails.clear()
        db.execute("PRAGMA max_page_count = 1000000")
        assert handle.wait(PATIENCE)
    assert shop.calls.count("stock") == 1


def test_calendar_that_is_set_moves_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = LogClock()
    before = clock.now()
    real = time.time_ns
    for jump in (HOUR, -HOUR):
        monkeypatch.setattr(time, "time_ns", lambda jump=jump: real() + jump)
        assert timedelta(0) <= clock.now() - before < timedelta(seconds=60)


def test_saga_that_ends_its_workers_is_halted_and_resumed(path: Path) -> None:
    shop = Shop()
    url = f"sqlite:///{path}"
    with Sagas(url, shop.order) as sagas:
        sagas.run(shop.order, FIG, id="a")
    with (
        closing(sqlite3.connect(path)) as db,
        db,
    ):  # as so many kills within its step would leave it
        db.execute("DELETE FROM saga_log")
        db.execute(
            "UPDATE sagas SET status = 'running', owner = 'gone', due = 0, ended = NULL,"
            " takeovers = ?",
            (TAKEOVERS_MAX - 1,),
        )
    shop.calls.clear()
    with Sagas(url, shop.order) as sagas:
        outcome = sagas.find("a").wait(PATIENCE)
        assert outcome.status is Status.PARKED
        assert f"{TAKEOVERS_MAX} workers in a row ended" in outcome.reason
        assert shop.calls == []
        sagas.decide("a", "resume")
        assert sagas.find("a").wait(PATIENCE)


def test_log_that_does_not_fit_the_code_parks_its_saga_alone(path: Path) -> None:
    shop = Shop()
    url = f"sqlite:///{path}"
    with Sagas(url, shop.order) as sagas:
        sagas.run(shop.order, FIG, id="a")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE saga_log SET step = 'shelf' WHERE step = 'stock'")
        db.execute("UPDATE sagas SET status = 'ready', due = 0, ended = NULL")
    with Sagas(url, shop.order) as sagas:
        outcome = sagas.find("a")
        while outcome.status() is not Status.PARKED:
            PAUSE.wait(0.005)
        row = sagas._shop.ledger.find("a")
        assert row is not None
        assert 'which has no step "shelf"' in row.reason
        assert sagas.run(shop.order, FIG, id="b")


def test_other_programs_file_is_left_as_it_is(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with pytest.raises(NotAStore, match="another program's"):
        Sagas(f"sqlite:///{path}", Saga("none")).open()
    assert path.read_bytes() == before
