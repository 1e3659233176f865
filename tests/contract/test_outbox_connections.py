"""One line in whatever transaction the business has, and handlers in whatever it uses."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from moreton.kernel.errors import MoretonError
from moreton.transactions.databases.errors import DatabaseNotOpened
from moreton.transactions.outbox import Consumer, Event, Inbox, Outbox, Patience, Relay
from moreton.transactions.outbox.bell import Bell
from moreton.transactions.outbox.brokers import open_broker
from moreton.transactions.outbox.core.event import decode
from moreton.transactions.outbox.core.relaying import Told
from moreton.transactions.outbox.errors import (
    EventRefused,
    EventTooLarge,
    NoTransaction,
    OutboxMissing,
    UnknownConnection,
)
from moreton.transactions.outbox.places import Place, open_place
from moreton.transactions.outbox.places.sqlalchemy import SqlAlchemyPlace
from moreton.transactions.outbox.tables import outgoing
from support.postgres_server import PostgresServer, running_postgres

OUTBOX = Outbox("orders")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres(server: PostgresServer) -> str:
    url = server.new_database()
    with psycopg.connect(url) as connection:
        OUTBOX.install(connection)
    return url


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/shop.db"
    connection = sqlite3.connect(tmp_path / "shop.db")
    OUTBOX.install(connection)
    connection.close()
    return url


def written(url: str) -> list[Any]:
    """What waits, which is taken away."""
    place = open_place(url)
    rows = place.ask(outgoing.unsent(OUTBOX.table, 100))
    events = [decode(row.text) for row in rows]
    with place.begin() as work:
        work.given.execute("DELETE FROM moreton_outbox")
    place.close()
    return [event.data for event in events if isinstance(event, Event)]


def test_sqlite3_writes_with_its_transaction_or_not_at_all(sqlite: str) -> None:
    connection = sqlite3.connect(sqlite.removeprefix("sqlite:///"))
    OUTBOX.add(connection, "placed", 1, subject="a")
    connection.commit()
    OUTBOX.add(connection.cursor(), "placed", 2, subject="a")
    connection.rollback()
    OUTBOX.add_many(connection, [OUTBOX.event("placed", n, subject="a") for n in (3, 4)])
    connection.commit()
    connection.close()
    assert written(sqlite) == [1, 3, 4]


def test_psycopg_writes_with_its_transaction_or_not_at_all(postgres: str) -> None:
    with psycopg.connect(postgres) as connection:
        OUTBOX.add(connection, "placed", 1, subject="a")
        connection.commit()
        OUTBOX.add(connection.cursor(), "placed", 2, subject="a")
        connection.rollback()
        OUTBOX.add_many(connection, [OUTBOX.event("placed", n, subject="a") for n in (3, 4)])
    assert written(postgres) == [1, 3, 4]


HARD = ['a"b', "back\\slash", "{}", "NULL", "", "? %s %b", "\0", "ünïcödé 𝄞", "x" * 5000]


@pytest.mark.parametrize("count", [1, len(HARD)])
async def test_texts_are_kept_to_the_letter_by_every_cursor(postgres: str, count: int) -> None:
    events = [OUTBOX.event("placed", text, subject=text[:9].strip("\0")) for text in HARD[:count]]
    for factory in (psycopg.Cursor, psycopg.ClientCursor, psycopg.RawCursor):
        with psycopg.connect(postgres, cursor_factory=factory) as connection:
            if factory is psycopg.RawCursor:
                with pytest.raises(psycopg.Error):  # it has marks of its own
                    OUTBOX.add_many(connection, events)
                continue
            OUTBOX.add_many(connection, events)
        assert sorted(written(postgres)) == sorted(HARD[:count])
    async with await psycopg.AsyncConnection.connect(postgres) as other:
        await OUTBOX.add_many_async(other, events)
    assert sorted(written(postgres)) == sorted(HARD[:count])


async def test_asynchronous_psycopg_writes_with_its_transaction(postgres: str) -> None:
    async with await psycopg.AsyncConnection.connect(postgres) as connection:
        await OUTBOX.add_async(connection, "placed", 1, subject="a")
        await connection.rollback()
        await OUTBOX.add_async(connection, "placed", 2, subject="a")
    assert written(postgres) == [2]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_sqlalchemy_writes_with_its_session_and_connection(
    kind: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(kind)
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with Session(engine) as session:
        OUTBOX.add(session, "placed", 1, subject="a")
        session.commit()
        OUTBOX.add(session, "placed", 2, subject="a")
        session.rollback()
    with engine.begin() as connection:
        OUTBOX.add(connection, "placed", 3, subject="a")
    engine.dispose()
    assert written(url) == [1, 3]


async def test_asynchronous_sqlalchemy_writes_with_its_session(postgres: str) -> None:
    engine = create_async_engine(postgres.replace("postgresql:", "postgresql+psycopg:"))
    async with AsyncSession(engine) as session, session.begin():
        await OUTBOX.add_async(session, "placed", 1, subject="a")
    await engine.dispose()
    assert written(postgres) == [1]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_connection_that_commits_each_statement_is_refused(
    kind: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(kind)
    if kind == "sqlite":
        connection: Any = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    else:
        connection = psycopg.connect(url, autocommit=True)
    with pytest.raises(NoTransaction):
        OUTBOX.add(connection, "placed", 1)
    connection.execute("BEGIN")
    OUTBOX.add(connection, "placed", 2)
    connection.execute("COMMIT")
    connection.close()
    assert written(url) == [2]


def test_what_cannot_be_told_is_refused_and_not_written(sqlite: str) -> None:
    connection = sqlite3.connect(sqlite.removeprefix("sqlite:///"))
    with pytest.raises(EventRefused, match="object"):
        OUTBOX.add(connection, "placed", object())
    with pytest.raises(EventRefused, match="type is empty"):
        OUTBOX.add(connection, "")
    with pytest.raises(EventTooLarge, match="10,000,"):
        OUTBOX.add(connection, "placed", "x" * 10_000_000)
    with pytest.raises(UnknownConnection, match="Path is nothing to write events with"):
        OUTBOX.add(Path(), "placed")
    connection.close()
    assert written(sqlite) == []


def test_outbox_without_its_table_says_how_to_make_it(server: PostgresServer) -> None:
    with sqlite3.connect(":memory:") as files, pytest.raises(OutboxMissing, match="install"):
        OUTBOX.add(files, "placed", 1)
    files.close()
    with psycopg.connect(server.new_database()) as connection, pytest.raises(OutboxMissing):
        OUTBOX.add(connection, "placed", 1)


async def test_program_without_a_usable_database_ends_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("no database" * 100)
    bad, broker = f"sqlite:///{tmp_path}/notes", f"sqlite:///{tmp_path}/broker.db"
    with pytest.raises(DatabaseNotOpened, match="notes"):
        await Relay(OUTBOX, database=bad, broker=broker).serve()
    with pytest.raises(DatabaseNotOpened, match="notes"):
        await Consumer(Inbox("bank"), topics=["orders"], database=bad, broker=broker).serve()


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: Outbox("Orders.New"), "topic is 'Orders.New'"),
        (lambda: Outbox("orders", table="x y"), "table is 'x y'"),
        (lambda: Inbox(""), "consumer is ''"),
        (lambda: Inbox("bank").on(), "types are"),
        (lambda: Patience(0), "attempts is 0"),
        (lambda: Consumer(Inbox("b"), topics="orders", database="", broker=""), "topics is"),
        (lambda: Consumer(Inbox("b"), topics=["A"], database="", broker=""), "topic is 'A'"),
        (lambda: Relay(OUTBOX, database="mysql://x", broker=""), "begins with 'mysql'"),
        (lambda: open_broker("kafka://x"), "begins with 'kafka'"),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_is_given(
    make: Callable[[], object], part: str
) -> None:
    with pytest.raises((ValueError, MoretonError), match=part):
        make()


def test_transaction_that_commits_late_is_not_passed_over(postgres: str) -> None:
    with psycopg.connect(postgres) as early, psycopg.connect(postgres) as late:
        OUTBOX.add(late, "placed", "late", subject="a")
        OUTBOX.add(early, "placed", "early", subject="b")
        early.commit()
        assert written(postgres) == ["early"]
        late.commit()
        assert written(postgres) == ["late"]


def test_second_writer_of_a_key_waits_for_the_first(postgres: str) -> None:
    with psycopg.connect(postgres) as first, psycopg.connect(postgres) as second:
        OUTBOX.add(first, "placed", 1, subject="a")
        second.execute("SET lock_timeout = '20ms'")
        second.commit()
        with pytest.raises(psycopg.errors.LockNotAvailable):
            OUTBOX.add(second, "placed", 2, subject="a")
        second.rollback()
        OUTBOX.add(second, "placed", 3, subject="b")
        second.commit()
        first.commit()
        OUTBOX.add(second, "placed", 4, subject="a")
    assert written(postgres) == [1, 3, 4]


async def handled(place: Place, url: str, inbox: Inbox, count: int) -> None:
    """Run relay and consumer until *count* events are handled."""
    ttl = timedelta(milliseconds=300)
    relay = Relay(OUTBOX, database=url, broker=url, ttl=ttl)
    consumer = Consumer(inbox, topics=["orders"], database=place, broker=url, ttl=ttl)
    tasks = [asyncio.create_task(relay.serve()), asyncio.create_task(consumer.serve())]
    async with asyncio.timeout(30):
        while consumer.statistics().handled < count:
            await asyncio.sleep(0.005)
    relay.stop()
    consumer.stop()
    await asyncio.gather(*tasks)


async def test_handlers_work_in_a_session_of_sqlalchemy(
    sqlite: str, postgres: str, server: PostgresServer
) -> None:
    with psycopg.connect(postgres) as connection:
        OUTBOX.add(connection, "placed", 7, subject="a")
    bank = server.new_database()
    engine = create_engine(bank.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as made:
        made.execute(text("CREATE TABLE payments (n int)"))
    inbox = Inbox("bank")

    @inbox.on("placed")
    async def pay(event: Event, session: Session) -> None:
        session.execute(text("INSERT INTO payments VALUES (:n)"), {"n": event.data})

    await handled(SqlAlchemyPlace(engine), postgres, inbox, 1)
    with psycopg.connect(bank) as connection:
        assert connection.execute("SELECT n FROM payments").fetchall() == [(7,)]
        assert connection.execute("SELECT count(*) FROM moreton_inbox").fetchone() == (1,)
    assert sqlite


def test_django_writes_in_atomic_blocks_and_handles_with_its_models(tmp_path: Path) -> None:
    program = Path(__file__).parents[1] / "support" / "outbox_django.py"
    done = subprocess.run(
        [sys.executable, program, tmp_path / "shop.db", f"sqlite:///{tmp_path}/broker.db"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["no transaction", "True True True", "[1, 5]"], done.stderr


async def test_bell_is_rung_once_by_each_transaction_that_is_committed(postgres: str) -> None:
    bell = Bell(postgres)
    outbox = Outbox("orders", bell=bell)
    address = postgres.replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(address)
    with Session(engine) as session:
        for _ in range(2):
            outbox.add(session, "placed", 1, subject="a")
        session.rollback()
        session.execute(text("SELECT 1"))
        session.commit()
        assert bell.rings == 0, "nothing was written in the end"
        for _ in range(2):
            with session.begin_nested():
                outbox.add(session, "placed", 2, subject="a")
        assert bell.rings == 0, "nothing is committed yet"
        session.commit()
        assert bell.rings == 1
    engine.dispose()
    other = create_async_engine(address)
    async with AsyncSession(other) as asynchronous, asynchronous.begin():
        await outbox.add_async(asynchronous, "placed", 3, subject="a")
    await other.dispose()
    assert bell.rings == 2
    bell.close()
    assert written(postgres) == [2, 2, 3]


async def test_bell_wakes_the_relay_after_the_commit_of_a_session(server: PostgresServer) -> None:
    url = server.new_database()
    bell = Bell(url)
    outbox = Outbox("orders", bell=bell)
    with psycopg.connect(url) as connection:
        outbox.install(connection)
    told = Told(poll=timedelta(hours=1), prune=timedelta(hours=1))
    relay = Relay(outbox, database=url, broker=url, ttl=timedelta(hours=1), told=told)
    task = asyncio.create_task(relay.serve())
    place = open_place(url)
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    async with asyncio.timeout(30):
        while not listening(place):
            await asyncio.sleep(0.01)
        with Session(engine) as session:
            outbox.add(session, "placed", 1, subject="a")
            assert bell.rings == 0, "nothing is committed yet"
            session.commit()
        assert bell.rings == 1
        while not relay.statistics().events:
            await asyncio.sleep(0.01)
    relay.stop()
    await task
    engine.dispose()
    place.close()
    bell.close()


def listening(place: Place) -> bool:
    with place.begin() as work:
        found = work.given.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN moreton_outbox'"
        ).fetchone()
        leads = work.given.execute("SELECT holder FROM moreton_leases").fetchone()
    return bool(found[0] and leads and leads[0])
