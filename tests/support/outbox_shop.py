"""A shop that writes orders and a bank that handles them, in processes forked from a warm one.

Started as a program it reads a JSON object a line: database, broker, orders, failpoint.
For each it forks, and the child writes what is missing of so many orders, runs the relay and the
consumer until each order is handled, and ends. Its exit status is the answer.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from datetime import timedelta
from typing import Any

from moreton.resilience import Backoff
from moreton.transactions import failpoints
from moreton.transactions.outbox import Consumer, Event, Inbox, Outbox, Patience, Relay
from moreton.transactions.outbox.core.relaying import Told
from moreton.transactions.outbox.places import Place, open_place
from moreton.transactions.outbox.tables.script import Script, Statement

KEYS = 3
TTL = timedelta(milliseconds=150)
OUTBOX = Outbox("orders")
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS orders (n bigint PRIMARY KEY, amount bigint NOT NULL)",
    (
        "CREATE TABLE IF NOT EXISTS payments (n bigint NOT NULL, key bigint NOT NULL, "
        "amount bigint NOT NULL)"
    ),
)


def ask(place: Place, sql: str, *values: object) -> list[tuple[Any, ...]]:
    def script() -> Script[list[tuple[Any, ...]]]:
        (rows,) = yield [Statement(sql, values)]
        return rows

    return place.ask(script())


def write_orders(place: Place, orders: int) -> None:
    """One transaction an order; goes on where a killed one left off."""
    for sql in SCHEMA:
        ask(place, sql)
    with place.begin() as work:
        OUTBOX.install(work.given)
    (done,) = ask(place, "SELECT count(*) FROM orders")[0]
    for n in range(done, orders):
        with place.begin() as work:
            work.execute([Statement("INSERT INTO orders VALUES (?, ?)", (n, 10 + n))])
            OUTBOX.add(
                work.given, "order.placed", {"n": n, "amount": 10 + n}, subject=f"{n % KEYS}"
            )


def bank(failing: int) -> Inbox:
    """Payment *failing* fails in its batch, alone, and aside; not a fourth time."""
    inbox = Inbox("bank", patience=Patience(9, Backoff.constant(timedelta(milliseconds=10))))
    failed = 0

    @inbox.on("order.placed")
    def pay(event: Event, connection: Any) -> None:
        nonlocal failed
        n = event.data["n"]
        if n == failing and failed < 3:
            failed += 1
            raise Hiccup(n)
        mark = "?" if "sqlite3" in type(connection).__mro__[1].__module__ else "%s"
        connection.execute(
            f"INSERT INTO payments VALUES ({mark}, {mark}, {mark})",  # noqa: S608
            (n, n % KEYS, event.data["amount"]),
        )

    return inbox


class Hiccup(Exception):
    pass


async def pump(database: str, broker: str, orders: int) -> None:
    relay = Relay(
        OUTBOX,
        database=database,
        broker=broker,
        ttl=TTL,
        keep=timedelta(milliseconds=1),
        told=Told(prune=timedelta(milliseconds=20)),
    )
    consumer = Consumer(
        bank(orders - 1), topics=["orders"], database=database, broker=broker, ttl=TTL
    )
    place = open_place(database)
    tasks = [asyncio.create_task(relay.serve()), asyncio.create_task(consumer.serve())]
    while True:
        await asyncio.sleep(0.02)
        for task in tasks:
            if task.done():
                task.result()
        if relay.statistics().leads and consumer.statistics().leads:
            (paid,) = ask(place, "SELECT count(DISTINCT n) FROM payments")[0]
            (unsent,) = ask(place, "SELECT count(*) FROM moreton_outbox")[0]
            if paid == orders and not unsent:
                break
    relay.stop()
    consumer.stop()
    await asyncio.gather(*tasks)


def arm(wanted: str) -> None:
    """As `MORETON_FAILPOINT` does where a process is started."""
    name, _, count = wanted.partition(":")
    failpoints._KNOWN[name]._left = int(count or 1)


def child(order: dict[str, Any]) -> None:
    if order.get("failpoint"):
        arm(order["failpoint"])
    place = open_place(order["database"])
    write_orders(place, order["orders"])
    place.close()
    asyncio.run(pump(order["database"], order["broker"], order["orders"]))


def main() -> None:
    # What children need is loaded once.
    for name in ("brokers.nats", "brokers.tables", "places.postgres", "places.sqlite"):
        importlib.import_module(f"moreton.transactions.outbox.{name}")

    print(json.dumps(failpoints.failpoints()), flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                child(json.loads(line))
                status = 0
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


if __name__ == "__main__":
    main()
