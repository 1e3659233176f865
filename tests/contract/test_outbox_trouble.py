"""Servers that restart and a consumer that was frozen: nothing is lost, nothing happens twice."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from moreton.transactions.outbox import Consumer, Event, Inbox, Outbox, Relay
from moreton.transactions.outbox.brokers import open_broker
from moreton.transactions.outbox.errors import EventsExpired
from moreton.transactions.outbox.looking import forget_position, send_again
from support.nats_server import NatsServer, running_nats
from support.postgres_server import PostgresServer, running_postgres

ROOT = Path(__file__).parents[2]
OUTBOX = Outbox("orders")
TTL = timedelta(milliseconds=300)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
async def nats(nats_server: NatsServer) -> AsyncIterator[NatsServer]:
    yield nats_server
    await stream(nats_server, "delete_stream")


@pytest.fixture
def database(server: PostgresServer) -> str:
    url = server.new_database()
    with psycopg.connect(url) as connection:
        OUTBOX.install(connection)
        connection.execute("CREATE TABLE payments (n bigint)")
    return url


def write(database: str, *numbers: int) -> None:
    with psycopg.connect(database) as connection:
        events = [OUTBOX.event("placed", n, subject=f"{n % 3}") for n in numbers]
        OUTBOX.add_many(connection, events)


def paid(database: str) -> list[int]:
    with psycopg.connect(database) as connection:
        return [n for (n,) in connection.execute("SELECT n FROM payments ORDER BY ctid")]


def bank() -> Inbox:
    inbox = Inbox("bank")

    @inbox.on("placed")
    def pay(event: Event, connection: psycopg.Connection) -> None:
        connection.execute("INSERT INTO payments VALUES (%s)", (event.data,))

    return inbox


@asynccontextmanager
async def running(*programs: Relay | Consumer) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(each.serve()) for each in programs]
    try:
        yield
    finally:
        for each in programs:
            each.stop()
        await asyncio.gather(*tasks)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        while not holds():
            await asyncio.sleep(0.05)


def relay(database: str, broker: str) -> Relay:
    return Relay(OUTBOX, database=database, broker=broker, ttl=TTL)


def consumer(database: str, broker: str) -> Consumer:
    return Consumer(bank(), topics=["orders"], database=database, broker=broker, ttl=TTL)


async def test_events_go_on_when_nats_restarts(database: str, nats: NatsServer) -> None:
    moving, paying = relay(database, nats.url), consumer(database, nats.url)
    async with running(moving, paying):
        write(database, 1, 2, 3)
        await until(lambda: len(paid(database)) == 3)
        nats.kill()
        write(database, 4, 5, 6)
        await until(lambda: moving.statistics().failures > 0)
        assert len(paid(database)) == 3
        nats.start()
        await until(lambda: len(paid(database)) == 6)
        write(database, 7)
        await until(lambda: len(paid(database)) == 7)
    assert sorted(paid(database)) == [1, 2, 3, 4, 5, 6, 7]


async def test_events_go_on_when_postgres_restarts(
    database: str, nats: NatsServer, server: PostgresServer
) -> None:
    moving, paying = relay(database, nats.url), consumer(database, nats.url)
    async with running(moving, paying):
        write(database, 1, 2, 3)
        await until(lambda: len(paid(database)) == 3)
        server.stop(signal.SIGQUIT)
        await until(lambda: moving.statistics().failures > 0)
        server.start()
        write(database, 4, 5, 6)
        await until(lambda: len(paid(database)) == 6)
    assert sorted(paid(database)) == [1, 2, 3, 4, 5, 6]
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM moreton_aside").fetchone() == (0,)


async def test_frozen_consumer_that_goes_on_changes_nothing(
    database: str, nats: NatsServer, tmp_path: Path
) -> None:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    words = ["-m", "support.outbox_frozen_bank", database, nats.url, str(tmp_path)]
    frozen = subprocess.Popen(  # noqa: ASYNC220 - it starts while nothing else is to be done
        [sys.executable, *words], env={**os.environ, "PYTHONPATH": path}
    )
    async with running(relay(database, nats.url)):
        write(database, 1, 2, 3)
        await until((tmp_path / "entered").exists)
        frozen.send_signal(signal.SIGSTOP)
        async with running(consumer(database, nats.url)):
            await until(lambda: len(paid(database)) == 3)
            (tmp_path / "go").touch()
            frozen.send_signal(signal.SIGCONT)
            write(database, 4, 5)
            await until(lambda: len(paid(database)) == 5)
    frozen.send_signal(signal.SIGTERM)
    assert frozen.wait(30) == 0
    assert sorted(paid(database)) == [1, 2, 3, 4, 5]


async def test_second_relay_and_consumer_take_over(database: str, nats: NatsServer) -> None:
    moving, paying = relay(database, nats.url), consumer(database, nats.url)
    async with running(relay(database, nats.url), consumer(database, nats.url)):
        write(database, 1, 2)
        await until(lambda: len(paid(database)) == 2)
        task = asyncio.create_task(moving.serve()), asyncio.create_task(paying.serve())
        write(database, 3)
        await until(lambda: len(paid(database)) == 3)
        assert not moving.statistics().leads
        assert not paying.statistics().leads
    write(database, 4)
    await until(lambda: len(paid(database)) == 4)
    assert moving.statistics().leads
    assert paying.statistics().leads
    moving.stop()
    paying.stop()
    await asyncio.gather(*task)
    assert sorted(paid(database)) == [1, 2, 3, 4]


async def test_message_that_arrives_again_changes_nothing(database: str, nats: NatsServer) -> None:
    paying = consumer(database, nats.url)
    async with running(relay(database, nats.url), paying):
        write(database, 1, 2)
        await until(lambda: len(paid(database)) == 2)
        assert send_again(database, OUTBOX, timedelta(hours=1)) == 2
        await until(lambda: paying.statistics().duplicates == 2)
    assert sorted(paid(database)) == [1, 2]


async def test_messages_that_are_no_events_are_set_aside(database: str, nats: NatsServer) -> None:
    broker = open_broker(nats.url)
    await broker.publish("orders", b"nonsense", "1")
    await broker.close()
    paying = consumer(database, nats.url)
    async with running(relay(database, nats.url), paying):
        write(database, 1)
        await until(lambda: paid(database) == [1])
        assert paying.statistics().dead == 1


async def test_topic_made_anew_is_read_from_its_beginning(database: str, nats: NatsServer) -> None:
    async with running(relay(database, nats.url), consumer(database, nats.url)):
        write(database, 1)
        await until(lambda: paid(database) == [1])
        write(database, 2)
        await until(lambda: paid(database) == [1, 2])
    await stream(nats, "delete_stream")
    async with running(relay(database, nats.url), consumer(database, nats.url)):
        write(database, 3)
        await until(lambda: paid(database) == [1, 2, 3])


async def test_lost_messages_stop_a_consumer_until_they_are_sent_again(
    database: str, nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(relay(database, nats.url), consumer(database, nats.url)):
        write(database, 1)
        await until(lambda: paid(database) == [1])
    async with running(relay(database, nats.url)):
        write(database, 2)
        await until(lambda: unsent(database) == 0)
    await stream(nats, "purge_stream")
    async with running(relay(database, nats.url), consumer(database, nats.url)):
        await until(lambda: EventsExpired.code in str(codes(caplog)))
        assert paid(database) == [1]
        send_again(database, OUTBOX, timedelta(hours=1))
        await until(lambda: unsent(database) == 0)
        forget_position(database, "bank", "orders")
        await until(lambda: paid(database) == [1, 2])


def codes(caplog: pytest.LogCaptureFixture) -> list[Any]:
    args = [arg for record in caplog.records for arg in record.args or ()]
    return [getattr(arg, "code", "") for arg in args]


def unsent(database: str) -> int:
    with psycopg.connect(database) as connection:
        found = connection.execute(
            "SELECT count(*) FROM moreton_outbox WHERE sent_at IS NULL"
        ).fetchone()
    assert found is not None
    return int(found[0])


async def stream(nats: NatsServer, what: str) -> None:
    import nats as client  # noqa: PLC0415 - the fixture has its name

    connection = await client.connect(nats.url)
    await getattr(connection.jetstream(), what)("moreton-orders")
    await connection.close()
