"""What relay and consumer send to a PostgreSQL by its library, beside what handlers do with it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import timedelta
from threading import Thread
from typing import Any

import psycopg
import pytest

from moreton.resilience import Backoff
from moreton.transactions.databases.errors import DatabaseRefused, DatabaseUnavailable
from moreton.transactions.outbox import Consumer, Event, Inbox, Outbox, Patience, Relay
from moreton.transactions.outbox.places.place import Place, Work
from moreton.transactions.outbox.places.postgres import PostgresPlace
from moreton.transactions.outbox.places.trips import PREPARED_MAX
from moreton.transactions.outbox.tables.script import Rows, Script, Statement
from support.postgres_server import PostgresServer

TTL = timedelta(milliseconds=300)
PREPARED_AFTER = 8  # enough for us, and for psycopg


@pytest.fixture
def url(postgres_of_session: PostgresServer) -> str:
    url = postgres_of_session.new_database()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept (n bigint PRIMARY KEY)")
    return url


@pytest.fixture
def place(url: str) -> Iterator[Place]:
    place = PostgresPlace(url)
    yield place
    place.close()


def one(sql: str, *values: object) -> Script[Rows]:
    (rows,) = yield [Statement(sql, values)]
    return rows


def kept(place: Place) -> list[int]:
    return [n for (n,) in place.ask(one("SELECT n FROM kept ORDER BY n"))]


def backend(place: Place) -> int:
    return int(place.ask(one("SELECT pg_backend_pid()"))[0][0])


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("bigint", 1), ("bigint", -(2**60)), ("text", "a?b\nü"), ("text", ""), ("bigint", None),
        ("bytea", b"\0\xff"), ("double precision", 0.5), ("text", "x" * 9_000_000),
    ],
)  # fmt: skip
def test_values_come_back_as_they_were_sent(place: Place, kind: str, value: object) -> None:
    for _ in range(3):
        assert place.ask(one(f"SELECT CAST(? AS {kind}), 1", value)) == [(value, 1)]


def test_whole_numbers_of_each_size_are_sent_to_a_statement_that_saw_small_ones(
    place: Place,
) -> None:
    for n in (1, 2, 3, 2**20, 2**21, 2**40, 2**41, 4):
        place.run(one("INSERT INTO kept VALUES (?)", n))
    assert kept(place) == [1, 2, 3, 4, 2**20, 2**21, 2**40, 2**41]


def test_more_statements_than_are_prepared_are_run_all_the_same(place: Place) -> None:
    for _ in range(3):
        for n in range(PREPARED_MAX + 3):
            assert place.ask(one(f"SELECT {n}")) == [(n,)]
    (count,) = place.ask(one("SELECT count(*) FROM pg_prepared_statements"))[0]
    assert count == PREPARED_MAX


def test_statements_behind_one_that_fails_are_not_run(place: Place) -> None:
    def both() -> Script[None]:
        yield [Statement("INSERT INTO kept VALUES (1)"), Statement("SELECT 1 / 0")]

    def run() -> None:
        with place.begin() as work:
            work.run(one("INSERT INTO kept VALUES (0)"))
            work.run(both())

    with pytest.raises(DatabaseRefused, match="division by zero"):
        run()
    assert kept(place) == []
    place.run(one("INSERT INTO kept VALUES (2)"))
    assert kept(place) == [2]


def test_handler_that_ends_the_transaction_is_refused_and_may_undo_a_part_of_it(
    place: Place,
) -> None:
    def end(word: str) -> None:
        with place.begin() as work:
            work.run(one("INSERT INTO kept VALUES (1)"))
            getattr(work.given, word)()

    for word in ("commit", "rollback"):
        with pytest.raises(psycopg.ProgrammingError, match=rf"called {word}\(\)"):
            end(word)
    with place.begin() as work:
        work.run(one("INSERT INTO kept VALUES (2)"))
        undo_a_part(work, 3)
        work.given.execute("INSERT INTO kept VALUES (4)")
    assert kept(place) == [2, 4]


def undo_a_part(work: Work, n: int) -> None:
    with contextlib.suppress(KeyError), work.given.transaction():
        work.given.execute("INSERT INTO kept VALUES (%s)", (n,))
        raise KeyError(n)


def test_handler_whose_driver_deallocates_what_is_prepared_takes_nothing_from_us(
    place: Place,
) -> None:
    before = backend(place)
    for n in range(PREPARED_AFTER):
        with place.begin() as work:
            work.run(one("INSERT INTO kept VALUES (?)", n))
            work.given.execute("SELECT %s::text", ("x",))
            if n > PREPARED_AFTER - 3:
                undo_a_part(work, 100)
            work.run(one("SELECT count(*) FROM kept WHERE n < ?", 100))
    assert kept(place) == list(range(PREPARED_AFTER))
    assert backend(place) == before, "the connection is the same"


def test_connection_that_the_server_ends_is_made_anew(place: Place, url: str) -> None:
    for _ in range(3):
        place.run(one("SELECT 1"))
    with psycopg.connect(url) as other:
        other.execute("SELECT pg_terminate_backend(%s, 30000)", (backend(place),))
    with pytest.raises(DatabaseUnavailable):
        place.run(one("INSERT INTO kept VALUES (1)"))
    place.run(one("INSERT INTO kept VALUES (2)"))
    assert kept(place) == [2]


def test_other_threads_work_while_one_waits_for_the_server(place: Place, url: str) -> None:
    found: list[Any] = []
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE kept")
        waiting = Thread(target=lambda: found.append(kept(place)))
        waiting.start()
        with psycopg.connect(url, autocommit=True) as looking:
            while looking.execute(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = "
                "(SELECT oid FROM pg_database WHERE datname = current_database())"
            ).fetchone() != (1,):
                pass
    waiting.join(30)
    assert found == [[]]


async def test_event_whose_handler_hides_that_a_statement_failed_is_set_aside(url: str) -> None:
    outbox, inbox = Outbox("orders"), Inbox("bank", patience=Patience(1, Backoff.constant(TTL)))
    with psycopg.connect(url) as connection:
        outbox.install(connection)
        for n in (1, 2, 3):
            outbox.add(connection, "placed", n, subject=f"{n}")

    @inbox.on("placed")
    def keep(event: Event, connection: psycopg.Connection) -> None:
        with contextlib.suppress(psycopg.Error):
            connection.execute(
                "INSERT INTO kept VALUES (%s::text::bigint)",
                ("two" if event.data == 2 else event.data,),
            )

    relay = Relay(outbox, database=url, broker=url, ttl=TTL)
    consumer = Consumer(inbox, topics=["orders"], database=url, broker=url, ttl=TTL)
    tasks = [asyncio.create_task(each.serve()) for each in (relay, consumer)]
    async with asyncio.timeout(30):
        while (done := consumer.statistics()).handled + done.dead < 3:
            await asyncio.sleep(0.005)
    relay.stop()
    consumer.stop()
    await asyncio.gather(*tasks)
    place = PostgresPlace(url)
    assert kept(place) == [1, 3]
    ((reason,),) = place.ask(one("SELECT reason FROM moreton_aside"))
    assert "the transaction is rolled back" in reason
    place.close()
