"""The barrier in real databases: SQLite and PostgreSQL, by every driver that we speak to."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy

from moreton.transactions.barrier import (
    Act,
    ActsCollide,
    BarrierMissing,
    Call,
    NotInTransaction,
    Verdict,
    create_table,
    enter,
    enter_async,
    forget,
)
from moreton.transactions.barrier import sqlalchemy as by_sqlalchemy
from support.postgres_server import PostgresServer

DO, CONFIRM, UNDO = Act.DO, Act.CONFIRM, Act.UNDO
Connect = Callable[[], Any]


@pytest.fixture(scope="module")
def server(postgres_of_session: PostgresServer) -> PostgresServer:
    return postgres_of_session


@pytest.fixture(scope="module")
def url(server: PostgresServer) -> str:
    return server.new_database()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def connect(
    request: pytest.FixtureRequest, url: str, tmp_path_factory: pytest.TempPathFactory
) -> Connect:
    path = tmp_path_factory.mktemp("barrier") / "bank.db"

    def connect() -> Any:
        if request.param == "sqlite":
            return sqlite3.connect(path, timeout=30, check_same_thread=False)
        return psycopg.connect(url)

    connection = connect()
    create_table(connection)
    connection.execute("CREATE TABLE effects (act TEXT)")
    connection.commit()
    connection.close()
    return connect


def perform(connection: Any, call: Call, *, commit: bool = True) -> Verdict:
    passage = enter(connection, call)
    if passage:
        connection.execute(f"INSERT INTO effects VALUES ('{call.act}')")  # noqa: S608 - ours
    (connection.commit if commit else connection.rollback)()
    return passage.verdict


def model(acts: tuple[Act, ...]) -> list[str]:
    """What a sequence of acts is to do: the barrier in plain words."""
    state, effects = "", []
    for act in acts:
        if act is DO and not state:
            state = "done"
        elif act is CONFIRM and state == "done":
            state = "confirmed"
        elif act is UNDO and state == "done":
            state = "undone"
        elif act is UNDO and not state:
            state = "undone"
            continue
        else:
            continue
        effects.append(str(act))
    return effects


def test_every_sequence_of_acts_does_what_the_model_says(connect: Connect) -> None:
    connection = connect()
    sequences = list(product(Act, repeat=3))
    for number, acts in enumerate(sequences):
        connection.execute("DELETE FROM effects")
        connection.commit()
        for act in acts:
            # Each is first rolled back, as if its process had died: that must leave nothing.
            for commit in (False, True):
                try:
                    perform(connection, Call(f"sequence-{number}", "b", act), commit=commit)
                except ActsCollide:
                    connection.rollback()
        found = [one for (one,) in connection.execute("SELECT act FROM effects").fetchall()]
        assert found == model(acts), acts
    assert len(sequences) == 27
    connection.close()


def test_a_repeated_call_gets_the_result_of_the_first(connect: Connect) -> None:
    connection = connect()
    call = Call("results", "b", DO)
    enter(connection, call).keep({"paid": 9, "to": ["ada"]})
    connection.commit()
    again = enter(connection, call)
    assert (again.verdict, again.result) == (Verdict.REPEATED, {"paid": 9, "to": ["ada"]})
    with pytest.raises(ValueError, match="at most"):
        again.keep("x" * 70_000)
    connection.close()


def test_an_undoing_that_comes_with_its_action_waits_for_it(connect: Connect) -> None:
    for number, commit in enumerate((True, False)):
        first, second = connect(), connect()
        call = Call(f"together-{number}", "b", DO)
        assert enter(first, call)
        asking = threading.Event()
        found: list[Verdict] = []

        def undo(second: Any = second, number: int = number, asking: Any = asking) -> None:
            asking.set()
            found.append(perform(second, Call(f"together-{number}", "b", UNDO)))  # noqa: B023

        thread = threading.Thread(target=undo)
        thread.start()
        assert asking.wait(30)
        thread.join(0.02)
        assert not found, "it did not wait"
        (first.commit if commit else first.rollback)()
        thread.join(30)
        assert found == [Verdict.FIRST if commit else Verdict.EMPTY]
        assert perform(first, call) is Verdict.LATE
        first.close()
        second.close()


def test_what_is_forgotten_is_old(connect: Connect) -> None:
    connection = connect()
    perform(connection, Call("old", "b", DO))
    assert forget(connection, older_than=timedelta(hours=1)) == 0
    connection.execute("UPDATE moreton_barrier SET at_ms = 0 WHERE transaction_id = 'old'")
    assert forget(connection, older_than=timedelta(hours=1)) == 1
    connection.commit()
    connection.close()


def test_a_connection_that_commits_each_statement_is_refused(tmp_path: Path, url: str) -> None:
    alone = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    create_table(alone)
    call = Call("t", "b", DO)
    with pytest.raises(NotInTransaction):
        enter(alone, call)
    alone.execute("BEGIN")
    assert enter(alone, call)
    alone.close()
    with psycopg.connect(url, autocommit=True) as connection:
        with pytest.raises(NotInTransaction):
            enter(connection, call)
        with connection.transaction():
            create_table(connection)
            assert enter(connection, Call("by-block", "b", DO))


def test_a_missing_table_is_named(tmp_path: Path, server: PostgresServer) -> None:
    connection = sqlite3.connect(tmp_path / "a.db")
    with pytest.raises(BarrierMissing, match="moreton_barrier"):
        enter(connection, Call("t", "b", DO))
    connection.close()
    with psycopg.connect(server.new_database()) as other, pytest.raises(BarrierMissing):
        enter(other, Call("t", "b", DO))


def test_it_takes_an_asynchronous_connection(url: str) -> None:
    async def twice() -> list[Verdict]:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            first = await enter_async(connection, Call("async", "b", DO))
            await first.keep(7)
            again = await enter_async(connection, Call("async", "b", DO))
            assert again.result == 7
            return [first.verdict, again.verdict]

    with psycopg.connect(url) as connection:
        create_table(connection)
    assert asyncio.run(twice()) == [Verdict.FIRST, Verdict.REPEATED]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_it_takes_a_session_of_sqlalchemy(kind: str, url: str, tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'a.db'}"
    if kind == "postgres":
        address = url.replace("postgresql:", "postgresql+psycopg:")
    engine = sqlalchemy.create_engine(address)
    with sqlalchemy.orm.Session(engine) as session:
        by_sqlalchemy.create_table(session)
        assert by_sqlalchemy.enter(session, Call("alchemy", "b", DO)).keep(1) is not None
        session.commit()
        again = by_sqlalchemy.enter(session, Call("alchemy", "b", DO))
        assert (again.verdict, again.result) == (Verdict.REPEATED, 1)
    with engine.connect() as connection:
        assert by_sqlalchemy.enter(connection, Call("alchemy", "b", UNDO))
        connection.rollback()
        own = connection.execution_options(isolation_level="AUTOCOMMIT")
        with pytest.raises(NotInTransaction):
            by_sqlalchemy.enter(own, Call("alchemy", "b", UNDO))
    engine.dispose()


def test_what_is_no_connection_is_refused() -> None:
    with pytest.raises(TypeError, match="SQLAlchemy and Django have modules"):
        enter(object(), Call("t", "b", DO))
    with pytest.raises(TypeError, match="give a Session"):
        by_sqlalchemy.enter("x", Call("t", "b", DO))  # type: ignore[arg-type]
