"""What `moreton status` says of transactions that wait for somebody."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from prometheus_client import CollectorRegistry

from moreton.cli.looking.doubts import doubts, said
from moreton.transactions.saga import Run, Saga, Sagas, Status, pivot
from moreton.transactions.saga.queues import Queue
from moreton.transactions.saga.telemetry import export_prometheus
from moreton.transactions.twophase import SqliteParticipant, open_decisions


@pivot
def pay(_: Run[None]) -> None:
    raise ConnectionResetError


def test_parked_sagas_are_counted_and_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sagas.db"
    order = Saga("order", pay)
    registry = CollectorRegistry()
    with Sagas(url, order) as sagas:
        export_prometheus(sagas, registry)
        assert sagas.run(order, id="order-1").status is Status.PARKED
        assert registry.get_sample_value("moreton_sagas", {"status": "parked"}) == 1
        assert registry.get_sample_value("moreton_sagas", {"status": "completed"}) == 0
        sagas.start(order, queue=Queue("bank"))
        waiting = {"queue": "bank", "state": "waiting"}
        assert registry.get_sample_value("moreton_saga_queue", waiting) == 1
        (line,) = said(doubts(url, "", []))
    assert line == "parked: 1 saga; see `moreton saga list --status parked`"
    # Once the engine is closed nobody can be asked.
    assert registry.get_sample_value("moreton_sagas_up") == 0


def test_orphan_is_named_and_what_waits_for_its_decision(tmp_path: Path) -> None:
    for name in ("stock", "money"):
        with closing(sqlite3.connect(tmp_path / name, isolation_level=None)) as connection:
            connection.execute("CREATE TABLE thing (n INTEGER)")
        connection.close()
    url = f"sqlite:///{tmp_path}/decisions.db"
    log = open_decisions(url)
    gids = {"stock": "moreton:another:1:stock", "money": f"moreton:{log.log_id}:2:money"}
    log.close()
    for name, gid in gids.items():
        participant = SqliteParticipant(name, tmp_path / name)
        branch = participant.begin(gid)
        branch.connection.execute("INSERT INTO thing VALUES (1)")
        assert branch.has_changes()
        branch.prepare()
        participant.close()
    where = [f"{name}=sqlite:///{tmp_path}/{name}" for name in gids]
    orphan, waiting = said(doubts("", url, where))
    assert "1 prepared transaction that no log here has to decide" in orphan
    assert gids["stock"] in orphan
    assert gids["money"] in waiting


def test_log_that_cannot_be_asked_is_a_trouble(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no database" * 100)
    (line,) = said(doubts(f"sqlite:///{tmp_path}/file", "", []))
    assert line.startswith("trouble: the log of sagas: ")
    assert not list(said({}))
