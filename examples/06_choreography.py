"""An order, its stock, its payment, its delivery: services that tell and listen, none in charge.

Each has a database of its own, and an outbox for what it did. When the customer cannot pay, the
stock hears of it and puts the article back. The payment service is killed in the middle.
"""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from moreton.transactions.outbox import Consumer, Event, Inbox, Outbox, Relay

SERVICES = {
    "stock": ["orders", "payment"],
    "payment": ["stock"],
    "delivery": ["payment"],
}
ORDERS = {"order-1": 30, "order-2": 5000, "order-3": 45}


def stock(inbox: Inbox, outbox: Outbox) -> None:
    @inbox.on("order.placed")
    def reserve(event: Event, db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO facts VALUES (?, 'reserved')", (event.subject,))
        outbox.add(db, "stock.reserved", event.data, subject=event.subject)

    @inbox.on("payment.refused")
    def put_back(event: Event, db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM facts WHERE subject = ?", (event.subject,))
        db.execute("INSERT INTO facts VALUES (?, 'put back')", (event.subject,))

    inbox.ignore("payment.made")


def payment(inbox: Inbox, outbox: Outbox) -> None:
    @inbox.on("stock.reserved")
    def pay(event: Event, db: sqlite3.Connection) -> None:
        can_pay = event.data["total"] < 1000
        what = "made" if can_pay else "refused"
        db.execute("INSERT INTO facts VALUES (?, ?)", (event.subject, what))
        outbox.add(db, f"payment.{what}", event.data, subject=event.subject)
        crashed = Path("crashed")
        if event.subject == "order-3" and not crashed.exists():
            crashed.touch()
            os.kill(os.getpid(), signal.SIGKILL)  # paid, told, and not committed


def delivery(inbox: Inbox, outbox: Outbox) -> None:
    @inbox.on("payment.made")
    def ship(event: Event, db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO facts VALUES (?, 'shipped')", (event.subject,))
        outbox.add(db, "delivery.shipped", subject=event.subject)

    inbox.ignore("payment.refused")


ROLES = {"stock": stock, "payment": payment, "delivery": delivery}
BROKER = "sqlite:///events.db"
TTL = timedelta(milliseconds=300)


async def relay_and_consume(service: str) -> None:
    inbox, outbox = Inbox(service), Outbox(service)
    ROLES[service](inbox, outbox)
    topics, database = SERVICES[service], f"sqlite:///{service}.db"
    async with asyncio.TaskGroup() as group:
        group.create_task(relay(outbox, service).serve())
        consumer = Consumer(inbox, topics=topics, database=database, broker=BROKER, ttl=TTL)
        group.create_task(consumer.serve())


def relay(outbox: Outbox, service: str) -> Relay:
    return Relay(outbox, database=f"sqlite:///{service}.db", broker=BROKER, ttl=TTL)


def serve(service: str) -> None:
    if service in SERVICES:
        asyncio.run(relay_and_consume(service))
    else:  # it tells, and listens to nobody
        relay(Outbox(service), service).run()


def start(service: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, service])


def facts(service: str) -> dict[str, str]:
    with closing(sqlite3.connect(f"{service}.db")) as db:
        return dict(db.execute("SELECT subject, what FROM facts ORDER BY subject"))


def tell_the_story() -> None:
    os.chdir(tempfile.mkdtemp())
    for service in ("orders", *SERVICES):
        with closing(sqlite3.connect(f"{service}.db")) as db:
            db.execute("CREATE TABLE facts (subject TEXT PRIMARY KEY, what TEXT)")
    outbox = Outbox("orders")
    with closing(sqlite3.connect("orders.db")) as db:
        outbox.install(db)
        for subject, total in ORDERS.items():
            db.execute("INSERT INTO facts VALUES (?, 'placed')", (subject,))
            outbox.add(db, "order.placed", {"total": total}, subject=subject)
        db.commit()
    running = {service: start(service) for service in ("orders", *SERVICES)}
    while len(facts("delivery")) < 2 or facts("stock").get("order-2") != "put back":
        time.sleep(0.02)
        if running["payment"].poll() is not None:
            print(f"payment died by signal {-running['payment'].returncode}, and is started again")
            running["payment"] = start("payment")
    for program in running.values():
        program.terminate()
        program.wait()
    for service in ("orders", *SERVICES):
        print(f"{service}: {facts(service)}")


if __name__ == "__main__":
    serve(sys.argv[1]) if len(sys.argv) > 1 else tell_the_story()
