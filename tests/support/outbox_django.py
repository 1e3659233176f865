"""A Django project that tells of its orders and handles them, all in one file: a program."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from threading import Thread
from typing import Any

import django
from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
)
django.setup()

from django.db import connection, models, transaction  # noqa: E402

from moreton.transactions.isolation import Change, Reading, SemanticLock, install  # noqa: E402
from moreton.transactions.outbox import Consumer, Event, Inbox, Outbox, Relay  # noqa: E402
from moreton.transactions.outbox.errors import NoTransaction  # noqa: E402
from moreton.transactions.outbox.places.django import DjangoPlace  # noqa: E402


class Order(models.Model):  # type: ignore[misc]  # noqa: DJ008
    number = models.IntegerField()

    class Meta:
        app_label = "shop"


class Payment(models.Model):  # type: ignore[misc]  # noqa: DJ008
    number = models.IntegerField()

    class Meta:
        app_label = "bank"


OUTBOX = Outbox("orders")
inbox = Inbox("bank")


@inbox.on("placed")
def pay(event: Event, _: Any) -> None:
    Payment.objects.create(number=event.data)


def main(broker: str) -> None:
    with connection.schema_editor() as editor:
        editor.create_model(Order)
        editor.create_model(Payment)
    OUTBOX.install(connection)
    with transaction.atomic():
        Order.objects.create(number=1)
        OUTBOX.add(connection, "placed", 1, subject="a")
    with transaction.atomic():
        Order.objects.create(number=2)
        OUTBOX.add(connection, "placed", 2, subject="a")
        transaction.set_rollback(True)
    try:
        OUTBOX.add(connection, "placed", 3, subject="a")
    except NoTransaction:
        print("no transaction")
    keep_apart()
    asyncio.run(move(broker))
    with transaction.atomic():
        OUTBOX.add(connection, "placed", 5, subject="a")
    work_alone(broker)
    print(list(Payment.objects.values_list("number", flat=True)))


def keep_apart() -> None:
    install(connection)
    with transaction.atomic():
        seen = Reading.of(connection, "shop_order", {"id": 1}, "number")
        turn = SemanticLock("order-1").take(connection, owner="saga-1")
        change = Change("shop_order", {"id": 1}, {"number": 4})
        print(bool(turn), change.apply(connection), change.inverse.apply(connection))
        seen.check(connection)


async def move(broker: str) -> None:
    ttl = timedelta(milliseconds=300)
    relay = Relay(OUTBOX, database=f"sqlite:///{sys.argv[1]}", broker=broker, ttl=ttl)
    consumer = Consumer(inbox, topics=["orders"], database=DjangoPlace(), broker=broker, ttl=ttl)
    tasks = [asyncio.create_task(relay.serve()), asyncio.create_task(consumer.serve())]
    while not consumer.statistics().handled:
        await asyncio.sleep(0.005)
    relay.stop()
    consumer.stop()
    await asyncio.gather(*tasks)


def work_alone(broker: str) -> None:
    """As programs of their own, one after the other."""
    relay = Relay(OUTBOX, database=DjangoPlace(), broker=broker)
    run_until(relay, lambda: bool(relay.statistics().messages))
    consumer = Consumer(inbox, topics=["orders"], database=DjangoPlace(), broker=broker)
    run_until(consumer, lambda: bool(consumer.statistics().handled))


def run_until(program: Relay | Consumer, is_done: Callable[[], bool]) -> None:
    def tell() -> None:
        while not is_done():
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=tell, daemon=True).start()
    program.run()


if __name__ == "__main__":
    main(sys.argv[2])
