"""What carries events from one service to others: tables of SQLite or PostgreSQL, or JetStream."""

from moreton.transactions.outbox.brokers.opening import open_broker
from moreton.transactions.outbox.brokers.port import Broker, Frame, Subscription

__all__ = ["Broker", "Frame", "Subscription", "open_broker"]
