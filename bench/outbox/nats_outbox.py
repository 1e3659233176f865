"""nats-outbox at the same work: its transactions, its relay, its inbox; one program for each.

Its relay publishes a message for each event and waits for each. Its inbox is asked event by event;
the bank takes the events of one fetch in one transaction, as ours does.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from typing import Any

import nats
import nats.errors
from nats.js.api import StreamConfig
from nats_outbox.core.inbox import InboxDeduplicator
from nats_outbox.core.models import Base
from nats_outbox.core.outbox import outbox_transaction
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

STREAM, SUBJECT = "peer", "peer.order.placed"
FETCHED_MAX = 500
WRITERS = 8
_INSERT = "INSERT INTO {} SELECT * FROM unnest(CAST(:n AS bigint[]), CAST(:amount AS bigint[]))"


def dsn(url: str) -> str:
    """*url* for SQLAlchemy and asyncpg."""
    return url.replace("postgresql://", "postgresql+asyncpg://")


async def prepare(orders: str, bank: str, server: str) -> None:
    for url in (orders, bank):
        engine = create_async_engine(dsn(url))
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        await engine.dispose()
    client = await nats.connect(server)
    await client.jetstream().add_stream(StreamConfig(name=STREAM, subjects=["peer.>"]))
    await client.close()


async def shop(orders: str, first: int, count: int, group: int) -> None:
    engine = create_async_engine(dsn(orders), pool_size=WRITERS)
    groups = [
        range(first + done, first + min(done + group, count)) for done in range(0, count, group)
    ]
    await asyncio.gather(*(_write(engine, groups[each::WRITERS]) for each in range(WRITERS)))
    await engine.dispose()


async def _write(engine: AsyncEngine, groups: list[range]) -> None:
    make = async_sessionmaker(engine, expire_on_commit=False)
    for numbers in groups:
        async with make() as session, outbox_transaction(session) as transaction:
            values = {"n": list(numbers), "amount": [10] * len(numbers)}
            await session.execute(text(_INSERT.format("orders")), values)
            for n in numbers:
                transaction.publish_event(
                    SUBJECT,
                    {"n": n, "amount": 10, "article": "umbrella", "street": "x" * 100},
                    aggregate_id=f"customer-{n % 1000}",
                )


async def bank(database: str, server: str) -> None:
    engine = create_async_engine(dsn(database))
    make = async_sessionmaker(engine, expire_on_commit=False)
    client = await nats.connect(server)
    source = await client.jetstream().pull_subscribe(SUBJECT, durable="bank", stream=STREAM)
    while True:
        try:
            messages = await source.fetch(FETCHED_MAX, timeout=5)
        except nats.errors.TimeoutError:
            continue
        async with make() as session, session.begin():
            inbox = InboxDeduplicator(session, consumer_group="bank")
            fresh = [each for each in messages if not await inbox.is_duplicate(_id(each))]
            orders = [_data(each) for each in fresh]
            values = {"n": [o["n"] for o in orders], "amount": [o["amount"] for o in orders]}
            await session.execute(text(_INSERT.format("payments")), values)
        for each in messages:
            await each.ack()


def _id(message: Any) -> uuid.UUID:
    return uuid.UUID(message.headers["Nats-Msg-Id"])


def _data(message: Any) -> dict[str, int]:
    found: dict[str, int] = json.loads(message.data)
    return found


if __name__ == "__main__":
    if sys.argv[1] == "shop":
        asyncio.run(shop(sys.argv[2], *map(int, sys.argv[3:6])))
    else:
        asyncio.run(bank(sys.argv[2], sys.argv[3]))
