"""Tells other services what happened: not before it did, and not without telling.

Use it where several services have to learn of what one of them did, and each with its own database.
Not to ask another service for something and wait (call it), and not where steps have to be undone
in an order that somebody watches (`moreton.transactions.saga`).

Guarantees: an event is told if its transaction was committed, and never else; each consumer's
effect happens once, whatever dies, restarts or arrives twice; events of one subject are handled in
the order of their transactions; one that cannot be handled holds up those of its subject alone, and
is kept until a person decides::

    outbox = Outbox("orders")
    outbox.add(connection, "order.placed", {"total": 1250}, subject="order-17")

    inbox = Inbox("payments")

    @inbox.on("order.placed")
    def charge(event: Event, connection: Connection) -> None: ...

    Relay(outbox, database="postgresql:///orders", broker="nats://localhost").run()
    Consumer(inbox, topics=["orders"], database="postgresql:///payments", broker=…).run()
"""

from moreton.transactions.outbox.consumer import Consumer
from moreton.transactions.outbox.core.deciding import OnDead, Patience
from moreton.transactions.outbox.core.event import Event
from moreton.transactions.outbox.errors import EventRejected
from moreton.transactions.outbox.inbox import Inbox
from moreton.transactions.outbox.outbox import Outbox
from moreton.transactions.outbox.relay import Relay

__all__ = [
    "Consumer",
    "Event",
    "EventRejected",
    "Inbox",
    "OnDead",
    "Outbox",
    "Patience",
    "Relay",
]
