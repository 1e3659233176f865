"""The least that moves an event from a commit to a commit: psycopg and nats-py, by hand.

What this machine, its PostgreSQL and its NATS let anybody do: the relay reads, publishes, marks;
the bank inserts what comes. Nothing of it survives a crash, is done once or knows who works: there
is no lease, fence, inbox, position or retry, and no event is looked at more than its number needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys

import nats
import psycopg
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig

from bench.outbox.bank import INSERT

STREAM, SUBJECT = "floor", "floor.orders"
# As ours.
_AT_ONCE, _FEW = 500, 100
_LINGER_SECONDS = 0.002
_READ = (
    b"SELECT position, event FROM moreton_outbox WHERE sent_at IS NULL ORDER BY position LIMIT %s"
)
_MARK = b"UPDATE moreton_outbox SET sent_at = clock_timestamp() WHERE position = ANY(%s)"


async def prepare(server: str) -> None:
    client = await nats.connect(server)
    await client.jetstream().add_stream(StreamConfig(name=STREAM, subjects=[SUBJECT]))
    await client.close()


async def relay(database: str, server: str) -> None:
    client = await nats.connect(server)
    stream = client.jetstream()
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("SET synchronous_commit = off")
        while True:
            rows = db.execute(_READ, (_AT_ONCE,)).fetchall()
            if rows:
                body = "[" + ",".join([event for _, event in rows]) + "]"
                await stream.publish(SUBJECT, body.encode())
                db.execute(_MARK, ([position for position, _ in rows],))
            if len(rows) < _FEW:
                await asyncio.sleep(_LINGER_SECONDS)


async def bank(database: str, server: str) -> None:
    client = await nats.connect(server)
    with psycopg.connect(database, autocommit=True) as db:

        async def pay(message: Msg) -> None:
            orders = [event["data"] for event in json.loads(message.data)]
            numbers = [order["n"] for order in orders]
            db.execute(INSERT, (numbers, [order["amount"] for order in orders]))

        told = ConsumerConfig(ack_policy=AckPolicy.NONE)
        await client.jetstream().subscribe(SUBJECT, stream=STREAM, cb=pay, config=told)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run({"relay": relay, "bank": bank}[sys.argv[1]](*sys.argv[2:]))
