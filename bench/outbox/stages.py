"""Where the time of an event goes, by the stamps that it leaves behind.

Nobody who is measured takes part: PostgreSQL keeps when each row was committed and written, NATS
when it got each message, and all are on one machine, with one clock.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass

import nats
import psycopg
from nats.js.api import ConsumerConfig, DeliverPolicy

from bench.outbox.fleets import Fleet
from moreton.transactions.outbox.brokers.nats import STREAM, SUBJECT

_MARKED = (
    "SELECT id, (event::json -> 'data' ->> 'n')::bigint AS n, "
    "extract(epoch FROM sent_at)::double precision FROM moreton_outbox "
    "WHERE (event::json -> 'data' ->> 'n')::bigint >= %s"
)
_BEGUN = "SELECT id, extract(epoch FROM at)::double precision FROM moreton_inbox"


@dataclass(frozen=True, slots=True)
class Stamps:
    """Moments of each order, in seconds."""

    written: Mapping[int, float]
    received: Mapping[int, float]
    marked: Mapping[int, float]
    begun: Mapping[int, float]
    paid: Mapping[int, float]

    def stages(self, first: int) -> dict[str, list[float]]:
        """The milliseconds that each order from *first* on spent, by stage.

        Marking goes on beside the last two.
        """
        between = {
            "commit to broker": (self.written, self.received),
            "broker to marked": (self.received, self.marked),
            "broker to inbox": (self.received, self.begun),
            "inbox to commit": (self.begun, self.paid),
        }
        return {
            name: [1000 * (later[n] - earlier[n]) for n in self.written if n >= first]
            for name, (earlier, later) in between.items()
        }


def stamps(fleet: Fleet, first: int) -> Stamps:
    """The stamps of the orders from *first* on."""
    with psycopg.connect(fleet.orders) as db:
        rows = db.execute(_MARKED, (first,)).fetchall()
    numbers = {name: n for name, n, _ in rows}
    with psycopg.connect(fleet.bank) as db:
        begun = {numbers[name]: at for name, at in db.execute(_BEGUN) if name in numbers}
    return Stamps(
        written=fleet.times(first, "orders"),
        received=asyncio.run(_received(fleet.nats.url)),
        marked={n: at for _, n, at in rows},
        begun=begun,
        paid=fleet.times(first, "payments"),
    )


async def _received(url: str) -> dict[int, float]:
    found: dict[int, float] = {}
    client = await nats.connect(url)
    stream = client.jetstream()
    left = (await stream.stream_info(STREAM.format("orders"))).state.messages
    source = await stream.subscribe(
        SUBJECT.format("orders"),
        stream=STREAM.format("orders"),
        ordered_consumer=True,
        config=ConsumerConfig(deliver_policy=DeliverPolicy.ALL),
    )
    for _ in range(left):
        message = await source.next_msg(10)
        at = message.metadata.timestamp.timestamp()
        for event in json.loads(message.data):
            found.setdefault(event["data"]["n"], at)
    await client.close()
    return found
