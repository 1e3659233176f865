"""Two-phase commits over real databases: what participants promise, and who ends what is left."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from typer.testing import CliRunner

from moreton.cli.main import application
from moreton.transactions.databases.errors import DatabaseUnavailable
from moreton.transactions.twophase import (
    Aborted,
    Decision,
    DecisionLog,
    Doubt,
    Participant,
    PostgresParticipant,
    Resolver,
    SqliteParticipant,
    TwoPhase,
    open_decisions,
)
from moreton.transactions.twophase.errors import (
    DecidedOtherwise,
    HeldByPrepared,
    PreparedDisabled,
    PrepareRefused,
    UnknownBranch,
)
from moreton.transactions.twophase.telemetry import export_prometheus
from support.postgres_server import PostgresServer
from support.waits import join_all

NOW = timedelta(0)


@pytest.fixture(scope="module")
def server(postgres_of_session: PostgresServer) -> PostgresServer:
    return postgres_of_session


@pytest.fixture(scope="module")
def url(server: PostgresServer) -> str:
    url = server.new_database()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, cents INTEGER)")
        connection.execute("INSERT INTO account VALUES (1, 0)")
    return url


@dataclass
class Shop:
    """A log, a database of PostgreSQL and a file of SQLite, and everything over them."""

    folder: Path
    log_url: str
    url: str
    log: DecisionLog
    orders: PostgresParticipant
    stock: SqliteParticipant
    two_phase: TwoPhase

    def resolver(self, *participants: Participant, grace: timedelta = NOW) -> Resolver:
        return Resolver(self.log, *(participants or (self.orders, self.stock)), grace=grace)

    def sqlite(self, sql: str, *values: Any) -> list[Any]:
        connection = sqlite3.connect(self.folder / "stock.db", timeout=20)
        try:
            with connection:
                return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def postgres(self, sql: str) -> list[Any]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def prepare(self, gid: str, pieces: int) -> None:
        """Leave a prepared transaction behind, as a coordinator that died."""
        branch = self.stock.begin(gid)
        branch.connection.execute("UPDATE stock SET pieces = ?", (pieces,))
        branch.prepare()


@pytest.fixture
def shop(tmp_path: Path, url: str) -> Iterator[Shop]:
    connection = sqlite3.connect(tmp_path / "stock.db")
    connection.execute("CREATE TABLE stock (id INTEGER PRIMARY KEY, pieces INTEGER)")
    connection.execute("INSERT INTO stock VALUES (1, 7)")
    connection.commit()
    connection.close()
    log_url = f"sqlite:///{tmp_path / 'decisions.db'}"
    log = open_decisions(log_url)
    orders = PostgresParticipant("orders", url)
    stock = SqliteParticipant("stock", tmp_path / "stock.db", patience=timedelta(seconds=0.05))
    two_phase = TwoPhase(log, orders, stock)
    made = Shop(tmp_path, log_url, url, log, orders, stock, two_phase)
    made.postgres("UPDATE account SET cents = 0")
    yield made
    for one in made.orders.prepared():
        made.orders.rollback(one.gid)
    two_phase.close()
    orders.close()
    stock.close()
    log.close()


def sell(shop: Shop) -> None:
    with shop.two_phase.begin() as work:
        work["orders"].execute("UPDATE account SET cents = cents + 9")
        work["stock"].execute("UPDATE stock SET pieces = pieces - 1")


def test_both_commit_or_none_does(shop: Shop) -> None:
    sell(shop)
    with pytest.raises(ZeroDivisionError), shop.two_phase.begin() as work:  # noqa: PT012
        work["orders"].execute("UPDATE account SET cents = cents + 9")
        work["stock"].execute("UPDATE stock SET pieces = pieces - 1")
        raise ZeroDivisionError
    assert shop.postgres("SELECT cents FROM account") == [(9,)]
    assert shop.sqlite("SELECT pieces FROM stock") == [(6,)]
    assert shop.resolver().resolve().is_clean


def test_a_participant_that_cannot_prepare_takes_the_other_back(shop: Shop) -> None:
    for sql, why in (
        ("CREATE TEMPORARY TABLE t (a INTEGER)", "temporary"),
        ("ROLLBACK", "ended it by itself"),
        ("SELECT 1 / 0", "had failed"),
    ):
        with pytest.raises(PrepareRefused, match=why), shop.two_phase.begin() as work:  # noqa: PT012
            work["stock"].execute("UPDATE stock SET pieces = 0")
            with contextlib.suppress(psycopg.errors.DivisionByZero):
                work["orders"].execute(sql)
    assert shop.sqlite("SELECT pieces FROM stock") == [(7,)]
    assert shop.resolver().resolve().is_clean


def test_a_late_coordinator_learns_that_it_was_given_up(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = shop.resolver()
    commit = shop.log.commit

    def frozen_before_it_decides(*values: Any) -> Decision:
        assert {one.doubt for one in resolver.resolve().ended} == {Doubt.ABANDONED}
        return commit(*values)

    monkeypatch.setattr(shop.log, "commit", frozen_before_it_decides)
    with pytest.raises(Aborted, match="given it up"):
        sell(shop)
    assert shop.postgres("SELECT cents FROM account") == [(0,)]
    assert shop.sqlite("SELECT pieces FROM stock") == [(7,)]


def test_a_lost_answer_of_the_log_is_no_abort_when_the_resolver_was_faster(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = shop.resolver()
    commit = shop.log.commit

    def unheard(*values: Any) -> Decision:
        commit(*values)
        time.sleep(0.002)  # decisions are as old as the calendar says
        assert {one.doubt for one in resolver.resolve().ended} == {Doubt.COMMITTED}
        resolver.resolve()
        assert not shop.log.find([values[0]])
        raise DatabaseUnavailable(database="log", reason="the connection is lost")

    monkeypatch.setattr(shop.log, "commit", unheard)
    sell(shop)
    assert shop.postgres("SELECT cents FROM account") == [(9,)]
    assert shop.sqlite("SELECT pieces FROM stock") == [(6,)]


def test_what_is_decided_is_not_undone_by_an_interruption(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = shop.log.commit

    def interrupted(*values: Any) -> Decision:
        commit(*values)
        raise KeyboardInterrupt

    monkeypatch.setattr(shop.log, "commit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sell(shop)
    assert not shop.resolver().resolve().torn
    assert shop.postgres("SELECT cents FROM account") == [(9,)]
    assert shop.sqlite("SELECT pieces FROM stock") == [(6,)]


def test_what_a_person_committed_holds_for_a_participant_that_was_away(shop: Shop) -> None:
    gid = f"moreton:{shop.log.log_id}:01kaway"
    shop.prepare(f"{gid}:stock", 3)
    shop.postgres(
        f"BEGIN; UPDATE account SET cents = 5; PREPARE TRANSACTION '{gid}:orders'"  # noqa: S608
    )
    assert shop.resolver(shop.stock).end_by_hand(f"{gid}:stock", Decision.COMMIT) == ["stock"]
    for _ in range(2):
        time.sleep(0.002)
        shop.resolver(shop.stock).resolve()
    assert [one.doubt for one in shop.resolver().resolve().ended] == [Doubt.COMMITTED]
    assert shop.postgres("SELECT cents FROM account") == [(5,)]


def test_a_young_transaction_is_left_to_its_coordinator(shop: Shop) -> None:
    shop.prepare(f"moreton:{shop.log.log_id}:01kyoung:stock", 1)
    report = shop.resolver(grace=timedelta(minutes=1)).resolve()
    assert [one.doubt for one in report.waiting] == [Doubt.UNDECIDED]
    assert not report.ended


def test_a_server_that_restarts_keeps_what_it_promised(shop: Shop, server: PostgresServer) -> None:
    commit = shop.orders.commit

    def away(gid: str) -> bool:
        server.stop(signal.SIGQUIT)
        return commit(gid)

    shop.orders.commit = away  # type: ignore[method-assign]
    with shop.two_phase.begin() as work:
        work["orders"].execute("UPDATE account SET cents = cents + 9")
        work["stock"].execute("UPDATE stock SET pieces = pieces - 1")
    assert work.pending == ("orders",)
    shop.orders.commit = commit  # type: ignore[method-assign]
    assert "orders" in shop.resolver().resolve().unreachable
    server.start()
    report = shop.resolver().resolve()
    assert [(one.doubt, one.prepared.participant) for one in report.ended] == [
        (Doubt.COMMITTED, "orders")
    ]
    assert shop.postgres("SELECT cents FROM account") == [(9,)]
    assert shop.resolver().resolve().is_clean


def test_an_orphan_is_found_named_and_resolved_soon_after_the_resolver_returns(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    ours = f"moreton:{shop.log.log_id}:01korphan"
    shop.prepare(f"{ours}:stock", 1)
    prepare = "BEGIN; UPDATE account SET cents = 5; PREPARE TRANSACTION '{}'"
    shop.postgres(prepare.format(f"{ours}:orders"))
    resolver = Resolver(shop.log, shop.orders, shop.stock)
    thread = threading.Thread(target=resolver.serve, args=(timedelta(seconds=0.2),))
    began = time.monotonic()
    thread.start()
    while shop.orders.prepared() or shop.stock.prepared():
        assert time.monotonic() - began < 5
        time.sleep(0.02)
    resolver.stop()
    join_all([thread])
    assert shop.log.find(["01korphan"])["01korphan"].decision is Decision.ABORT
    assert shop.postgres("SELECT cents FROM account") == [(0,)]
    assert resolver.last.is_clean
    shop.postgres(prepare.format("payroll"))
    with caplog.at_level("ERROR", "moreton.transactions"):
        report = resolver.resolve()
    assert [(one.prepared.gid, one.doubt) for one in report.orphans] == [("payroll", Doubt.UNKNOWN)]
    assert "'payroll'" in caplog.text
    registry = CollectorRegistry()
    export_prometheus(resolver, registry)
    line = 'moreton_indoubt_transactions{doubt="unknown",participant="orders"} 1.0'
    assert line in generate_latest(registry).decode()
    assert resolver.end_by_hand("payroll", Decision.ABORT) == ["orders"]


def test_what_somebody_rolled_back_by_hand_is_found_torn(shop: Shop) -> None:
    for name in ("orders", "stock"):
        participant = shop.two_phase.participants[name]
        commit = participant.commit

        def by_hand(gid: str, participant: Any = participant) -> bool:
            return bool(participant.rollback(gid)) and False

        participant.commit = by_hand  # type: ignore[method-assign]
        sell(shop)
        participant.commit = commit  # type: ignore[method-assign]
        torn = [at for _, at in shop.resolver().resolve().torn]
        assert torn == [name]
        shop.log.forget([one.transaction_id for one in shop.log.commits(older_than=NOW)])


def test_the_command_names_and_ends_what_is_in_doubt(shop: Shop) -> None:
    def run(*words: str) -> tuple[int, Any]:
        every = ["--log", shop.log_url, "--participant", f"orders={shop.url}"]
        every += ["--participant", f"stock=sqlite:///{shop.folder / 'stock.db'}"]
        arguments = ["indoubt", *words, *every]
        done = CliRunner().invoke(application(arguments), arguments)
        return done.exit_code, done.output

    assert run("list") == (0, "nothing is in doubt\n")
    shop.prepare("moreton:elsewhere:01k:stock", 3)
    status, text = run("list")
    assert status == 1
    assert "foreign" in text
    assert "moreton:elsewhere:01k:stock" in text
    (found,) = json.loads(run("list", "--json")[1])["orphans"]
    assert (found["participant"], found["doubt"]) == ("stock", "foreign")
    assert run("resolve")[0] == 1
    status, text = run("resolve", found["gid"], "--commit")
    assert (status, text) == (0, f"{found['gid']} is committed at stock\n")
    assert shop.sqlite("SELECT pieces FROM stock") == [(3,)]
    assert run("resolve")[0] == 0
    assert run("resolve", "gid")[0] == 2
    arguments = ["indoubt", "list", "--log", "sqlite:///typo.db", "--participant", "a=sqlite:///b"]
    done = CliRunner().invoke(application(arguments), arguments)
    assert done.exit_code == 2
    assert not Path("typo.db").exists()


def test_a_person_may_not_tear_a_transaction_by_mistake(shop: Shop) -> None:
    gid = f"moreton:{shop.log.log_id}:01kdecided:stock"
    shop.prepare(gid, 2)
    shop.log.commit("01kdecided", {"stock": ""})
    with pytest.raises(DecidedOtherwise, match="commit"):
        shop.resolver().end_by_hand(gid, Decision.ABORT)
    with pytest.raises(UnknownBranch):
        shop.resolver().end_by_hand("nobody", Decision.ABORT)
    with pytest.raises(HeldByPrepared, match="01kdecided"):
        shop.stock.begin("moreton:a:b:stock")
    assert shop.resolver().end_by_hand(gid, Decision.ABORT, force=True) == ["stock"]


def test_a_server_without_room_says_what_to_set(shop: Shop, server: PostgresServer) -> None:
    shop.orders.close()
    server.stop()
    settings = server._settings
    server._settings = {**settings, "max_prepared_transactions": "0"}
    server.start()
    participant = PostgresParticipant("orders", shop.url)
    try:
        with pytest.raises(PreparedDisabled, match="max_prepared_transactions = 0"):
            participant.begin("moreton:a:b:c")
    finally:
        server.stop()
        server._settings = settings
        server.start()
