"""Events that cannot be handled: who waits for them, and what people do about them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from moreton.cli.exits import Exit
from moreton.cli.main import application
from moreton.resilience import Backoff
from moreton.transactions.outbox import (
    Consumer,
    Event,
    EventRejected,
    Inbox,
    OnDead,
    Outbox,
    Patience,
    Relay,
)
from moreton.transactions.outbox.dead import DeadLetters
from moreton.transactions.outbox.errors import UnknownDeadLetter
from moreton.transactions.outbox.looking import look

SOON = Patience(2, Backoff.constant(timedelta(milliseconds=5)))
TTL = timedelta(milliseconds=200)


class Shop:
    """An outbox and an inbox, each in a file of its own, and a broker in a third."""

    def __init__(self, folder: Path) -> None:
        self.orders, self.bank = folder / "orders.db", folder / "bank.db"
        self.broker = f"sqlite:///{folder}/broker.db"
        self.outbox = Outbox("orders")
        self.seen: list[Any] = []
        with closing(sqlite3.connect(self.orders, isolation_level=None)) as connection:
            self.outbox.install(connection)
        connection.close()

    def write(self, *events: tuple[str, str, Any]) -> None:
        connection = sqlite3.connect(self.orders)
        for type_, subject, data in events:
            self.outbox.add(connection, type_, data, subject=subject)
        connection.commit()
        connection.close()

    def inbox(self, bad: set[Any], *, on_dead: OnDead = OnDead.PARK) -> Inbox:
        inbox = Inbox("bank", patience=SOON, on_dead=on_dead)

        @inbox.on("placed")
        def pay(event: Event, connection: sqlite3.Connection) -> None:
            connection.execute("CREATE TABLE IF NOT EXISTS payments (n)")
            connection.execute("INSERT INTO payments VALUES (?)", (event.data,))
            if event.data in bad:
                raise EventRejected(f"{event.data} cannot be paid")

        return inbox

    @property
    def paid(self) -> list[Any]:
        connection = sqlite3.connect(self.bank)
        try:
            return [n for (n,) in connection.execute("SELECT n FROM payments ORDER BY rowid")]
        except sqlite3.OperationalError:
            return []
        finally:
            connection.close()

    @property
    def unsent(self) -> int:
        return int(look(f"sqlite:///{self.orders}", self.outbox.table)["unsent"])

    @property
    def beat(self) -> int:
        (lease,) = look(f"sqlite:///{self.bank}", self.outbox.table)["leases"]
        return int(lease["beat"])

    @cached_property
    def letters(self) -> DeadLetters:
        return DeadLetters(f"sqlite:///{self.bank}")

    @asynccontextmanager
    async def running(self, inbox: Inbox) -> AsyncIterator[Consumer]:
        relay = Relay(self.outbox, database=f"sqlite:///{self.orders}", broker=self.broker, ttl=TTL)
        consumer = Consumer(
            inbox, topics=["orders"], database=f"sqlite:///{self.bank}", broker=self.broker, ttl=TTL
        )
        tasks = [asyncio.create_task(relay.serve()), asyncio.create_task(consumer.serve())]
        try:
            yield consumer
        finally:
            relay.stop()
            consumer.stop()
            await asyncio.gather(*tasks)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    shop.letters.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.02)


async def test_poison_event_holds_up_those_of_its_subject_alone(shop: Shop) -> None:
    shop.write(("placed", "a", 1), ("placed", "a", 2), ("placed", "b", 3), ("placed", "a", 4))
    async with shop.running(shop.inbox({1})):
        await until(lambda: len(shop.letters.listing(waiting=True)) == 3 and shop.paid == [3])
    (dead,) = shop.letters.listing()
    assert (dead.key, dead.behind, dead.dead) == ("a", 2, True)
    assert "1 cannot be paid" in dead.reason


async def test_replayed_letter_is_handled_before_those_behind_it(shop: Shop) -> None:
    shop.write(("placed", "a", 1), ("placed", "a", 2), ("placed", "b", 3))
    bad = {1}
    async with shop.running(shop.inbox(bad)):
        await until(lambda: len(shop.letters.listing(waiting=True)) == 2)
        bad.clear()
        (dead,) = shop.letters.listing()
        assert shop.letters.replay(dead.number) == 1
        await until(lambda: shop.paid == [3, 1, 2])
        shop.write(("placed", "a", 5))
        await until(lambda: shop.paid == [3, 1, 2, 5])
    assert not shop.letters.listing(waiting=True)


async def test_dropped_letter_lets_those_behind_it_go_on(shop: Shop) -> None:
    shop.write(("placed", "a", 1), ("placed", "a", 2))
    async with shop.running(shop.inbox({1})):
        await until(lambda: len(shop.letters.listing(waiting=True)) == 2)
        assert shop.letters.drop(shop.letters.listing()[0].number) == 1
        await until(lambda: shop.paid == [2])


async def test_skipping_inbox_lets_those_behind_a_dead_letter_go_on(shop: Shop) -> None:
    shop.write(("placed", "a", 1), ("placed", "a", 2))
    async with shop.running(shop.inbox({1}, on_dead=OnDead.SKIP)):
        await until(lambda: shop.paid == [2])
    assert len(shop.letters.listing()) == 1


async def test_blocking_inbox_takes_nothing_more_until_somebody_decides(shop: Shop) -> None:
    shop.write(("placed", "a", 1))
    async with shop.running(shop.inbox({1}, on_dead=OnDead.BLOCK)):
        await until(lambda: len(shop.letters.listing()) == 1)
        shop.write(("placed", "b", 2))
        await until(lambda: not shop.unsent)
        before = shop.beat
        await until(lambda: shop.beat > before + 3)  # it had its chances
        assert shop.paid == []
        shop.letters.drop(shop.letters.listing()[0].number)
        await until(lambda: shop.paid == [2])


async def test_event_that_nobody_handles_is_kept_and_handled_once_somebody_does(
    shop: Shop,
) -> None:
    shop.write(("shipped", "a", 1), ("placed", "a", 2))
    async with shop.running(shop.inbox(set())):
        await until(lambda: shop.paid == [2])
    (dead,) = shop.letters.listing()
    assert "no handler for shipped" in dead.reason
    inbox = shop.inbox(set())
    inbox.on("shipped")(lambda event, _: shop.seen.append(event.data))
    async with shop.running(inbox):
        shop.letters.replay(dead.number)
        await until(lambda: shop.seen == [1])


async def test_ignored_types_leave_no_trace(shop: Shop) -> None:
    shop.write(("viewed", "a", 1), ("placed", "a", 2))
    inbox = shop.inbox(set())
    inbox.ignore("*")
    async with shop.running(inbox) as consumer:
        await until(lambda: shop.paid == [2])
        assert consumer.statistics().handled == 1
    assert not shop.letters.listing(waiting=True)


async def test_handler_that_ends_its_transaction_is_refused(shop: Shop) -> None:
    shop.write(("placed", "a", 1))
    inbox = Inbox("bank", patience=Patience(1))

    @inbox.on("placed")
    def pay(_: Event, connection: sqlite3.Connection) -> None:
        connection.commit()

    async with shop.running(inbox):
        await until(lambda: len(shop.letters.listing()) == 1)
    assert "TransactionEnded" in shop.letters.listing()[0].reason


def command(*words: str) -> Any:
    return CliRunner().invoke(application(["outbox"]), ["outbox", *words])


async def test_commands_list_inspect_replay_and_drop(shop: Shop) -> None:
    shop.write(("placed", "a", 1), ("placed", "b", 2), ("placed", "b", 3))
    async with shop.running(shop.inbox({1, 2})):
        await until(lambda: len(shop.letters.listing(waiting=True)) == 3)
    where = ["--database", f"sqlite:///{shop.bank}"]
    listed = json.loads(command("dead", "list", *where, "--json").output)
    assert [each["key"] for each in listed] == ["a", "b"]
    first, second = (str(each["number"]) for each in listed)
    assert "1 cannot be paid" in command("dead", "list", *where).output
    inspected = json.loads(command("dead", "inspect", first, *where, "--json").output)
    assert inspected["event"]["data"] == 1
    assert '"data": 1' in command("dead", "inspect", first, *where).output
    assert command("dead", "replay", *where).exit_code == Exit.USAGE
    assert json.loads(command("dead", "drop", first, *where, "--json").output) == {"dropped": 1}
    assert command("dead", "replay", "--all", *where).output == "replayed: 1\n"
    with pytest.raises(UnknownDeadLetter, match=f"no dead letter {first}"):
        shop.letters.drop(int(first), int(second))
    status = json.loads(command("status", *where, "--json").output)
    assert status["consumers"][0]["set_aside"] == 2
    assert "inbox        bank: 0 dead, 2 waiting" in command("status", *where).output
    async with shop.running(shop.inbox(set())):
        await until(lambda: shop.paid == [2, 3])
    orders = ["--database", f"sqlite:///{shop.orders}"]
    assert "3 events" in command("resend", "orders", "--since", "1h", *orders).output
    async with shop.running(shop.inbox(set())) as consumer:
        await until(lambda: consumer.statistics().duplicates == 3)
    assert shop.paid == [2, 3]


def test_schema_command_prints_statements_that_make_the_tables() -> None:
    connection = sqlite3.connect(":memory:")
    connection.executescript(command("schema", "--dialect", "sqlite").output)
    Outbox("orders").add(connection, "placed")
    connection.close()
    assert "bigint GENERATED ALWAYS" in command("schema", "--dialect", "postgresql").output


def test_looking_makes_no_table(tmp_path: Path) -> None:
    file = tmp_path / "empty.db"
    letters = DeadLetters(f"sqlite:///{file}")
    assert letters.listing() == []
    with pytest.raises(UnknownDeadLetter):
        letters.inspect(1)
    with pytest.raises(UnknownDeadLetter):
        letters.replay(1)
    letters.close()
    found = look(f"sqlite:///{file}", "moreton_outbox")
    assert (found["unsent"], found["consumers"], found["leases"]) == (0, [], [])
    with contextlib.closing(sqlite3.connect(file)) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == []
