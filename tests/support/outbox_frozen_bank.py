"""A consumer that stops in the middle of a transaction, until a file is there: a program."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from pathlib import Path

import psycopg

from moreton.transactions.outbox import Consumer, Event, Inbox


def main(database: str, broker: str, folder: str) -> None:
    inbox = Inbox("bank")

    @inbox.on("placed")
    def pay(event: Event, connection: psycopg.Connection) -> None:
        connection.execute("INSERT INTO payments VALUES (%s)", (event.data,))
        Path(folder, "entered").touch()
        while not Path(folder, "go").exists():
            time.sleep(0.01)

    Consumer(
        inbox,
        topics=["orders"],
        database=database,
        broker=broker,
        ttl=timedelta(milliseconds=300),
    ).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
