"""The consumer that is measured: one row for each order, with the order's own number."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import timedelta

import psycopg

from moreton.transactions.outbox import Consumer, Event, Inbox

INSERT = "INSERT INTO payments SELECT * FROM unnest(%s::bigint[], %s::bigint[])"


def main(database: str, broker: str) -> None:
    inbox = Inbox("bank")

    @inbox.on("order.placed", many=True)
    def pay(events: Sequence[Event], connection: psycopg.Connection) -> None:
        numbers = [event.data["n"] for event in events]
        connection.execute(INSERT, (numbers, [event.data["amount"] for event in events]))

    Consumer(
        inbox, topics=["orders"], database=database, broker=broker, ttl=timedelta(seconds=2)
    ).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
