"""What a database cannot keep as a text is set aside in other words, and holds up nothing."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from moreton.resilience import Backoff
from moreton.transactions.outbox import Consumer, Event, Inbox, Patience
from moreton.transactions.outbox.brokers import open_broker
from moreton.transactions.outbox.dead import DeadLetters
from support.postgres_server import PostgresServer

TTL = timedelta(milliseconds=300)
PATIENCE = Patience(1, Backoff.constant(TTL))


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/bank.db"
    server: PostgresServer = request.getfixturevalue("postgres_of_session")
    return server.new_database()


def event(id_: str, data: Any = None, **more: str) -> bytes:
    said = {"specversion": "1.0", "id": id_, "source": "/s", "type": "placed", "data": data}
    return json.dumps(said | more).encode()


async def handled(url: str, bodies: list[bytes], inbox: Inbox) -> int:
    """How many events are handled and how many are dead once all *bodies* were looked at."""
    broker = open_broker(url)
    for n, body in enumerate(bodies):
        await broker.publish("orders", body, f"{n}")
    await broker.close()
    consumer = Consumer(inbox, topics=["orders"], database=url, broker=url, ttl=TTL)
    task = asyncio.create_task(consumer.serve())
    async with asyncio.timeout(20):
        while (done := consumer.statistics()).handled + done.dead < len(bodies):
            assert not task.done(), task.result()
            await asyncio.sleep(0.005)
    consumer.stop()
    await task
    assert done.dead == 1
    return done.handled


@pytest.mark.parametrize(
    "body",
    [
        b"\0", b'"\0"', event("\ud800"), event("b", subject="\udfff"), event("b", type="\ud800"),
        event("b", time="x\ud800"), event("b", source="\ud800"), event("b", partitionkey="\ud800"),
        b'["\\ud800"]',
    ],
)  # fmt: skip
async def test_message_with_what_is_no_text(url: str, body: bytes) -> None:
    inbox = Inbox("bank", patience=PATIENCE)
    seen = []
    inbox.on("placed")(lambda event, _: seen.append(event.id))
    assert await handled(url, [event("a"), body, event("c")], inbox) == 2
    assert seen == ["a", "c"]


@pytest.mark.parametrize("words", ["a\0b", "a\ud800b"])
async def test_handler_whose_error_is_no_text(url: str, words: str) -> None:
    inbox = Inbox("bank", patience=PATIENCE)

    @inbox.on("placed")
    def fail(event: Event, _: Any) -> None:
        if event.id == "b":
            raise ValueError(words)

    assert await handled(url, [event("a"), event("b"), event("c")], inbox) == 2
    letters = DeadLetters(url)
    (letter,) = letters.listing()
    assert letter.reason.startswith("ValueError: a")
    letters.close()


@pytest.mark.parametrize("data", ["x\ud800\0", float("inf"), float("-inf")])
async def test_data_that_nobody_can_write_comes_back_as_it_was(url: str, data: Any) -> None:
    inbox, seen = Inbox("bank", patience=PATIENCE), []

    @inbox.on("placed")
    def fail(event: Event, _: Any) -> None:
        seen.append(event.data)
        if len(seen) < 3:  # in the batch, and alone
            raise ValueError("not yet")

    assert await handled(url, [event("a", data)], inbox) == 0
    letters = DeadLetters(url)
    (letter,) = letters.listing()
    letters.replay(letter.number)
    letters.close()
    consumer = Consumer(inbox, topics=["orders"], database=url, broker=url, ttl=TTL)
    task = asyncio.create_task(consumer.serve())
    async with asyncio.timeout(20):
        while not consumer.statistics().handled:
            assert not task.done(), task.result()
            await asyncio.sleep(0.005)
    consumer.stop()
    await task
    assert seen == [data] * 3
