"""A broker by its address."""

from __future__ import annotations

from datetime import timedelta

from moreton.transactions.outbox.brokers.port import Broker
from moreton.transactions.outbox.errors import UnknownBrokerUrl
from moreton.transactions.outbox.places.opening import POSTGRES, SQLITE, open_place

RETAIN = timedelta(days=7)
_NATS = ("nats://", "tls://", "ws://", "wss://")


def open_broker(where: str | Broker, *, retain: timedelta = RETAIN) -> Broker:
    """*where* itself, or the broker at `nats://host:4222`, `postgresql://…` or `sqlite:///file`.

    Messages are kept for *retain*, read or not. Several NATS servers are separated by commas.
    """
    if not isinstance(where, str):
        if hasattr(where, "publish") and hasattr(where, "subscribe"):
            return where
        raise TypeError(f"broker is {where!r}: give an address, as 'sqlite:///events.db'")
    if where.startswith(_NATS):
        # Only who uses it needs the client.
        from moreton.transactions.outbox.brokers.nats import NatsBroker  # noqa: PLC0415

        return NatsBroker(where, retain=retain)
    if where.startswith((*POSTGRES, SQLITE)):
        from moreton.transactions.outbox.brokers.tables import TableBroker  # noqa: PLC0415 - light

        return TableBroker(open_place(where), retain=retain)
    raise UnknownBrokerUrl(url=where)
