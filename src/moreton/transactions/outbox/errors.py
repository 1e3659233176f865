"""What outbox, relay, inbox and brokers raise."""

from __future__ import annotations

from moreton.kernel.errors import RetryAdvice
from moreton.transactions.errors import TransactionError


class OutboxError(TransactionError):
    """The root of the troubles with events."""

    code = "outbox-failed"


class EventRefused(OutboxError, ValueError):
    """What was to be told is not an event, or is too large."""

    code = "outbox-event-refused"

    def __init__(self, *, type_: str, reason: str) -> None:
        super().__init__(
            f"event {type_!r} cannot be told, {reason}: it was not written; "
            "give texts for its attributes and data that JSON can say, or bytes"
        )


class EventTooLarge(OutboxError):
    """An event is larger than brokers take."""

    code = "outbox-event-too-large"

    def __init__(self, *, type_: str, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            f"event {type_!r} has {size:,} bytes, above {limit:,}: it was not written; "
            "keep the data in a store of its own, and tell where it is"
        )


class OutboxMissing(OutboxError):
    """The database has no table for events."""

    code = "outbox-missing"

    def __init__(self, *, table: str) -> None:
        self.table = table
        super().__init__(
            f"there is no table {table}: the event was not written; make it by "
            "Outbox.install(connection), or in a migration by `moreton outbox schema`"
        )


class UnknownConnection(OutboxError, TypeError):
    """Something was given to write events with that is no connection of a known kind."""

    code = "outbox-unknown-connection"

    def __init__(self, *, given: object) -> None:
        super().__init__(
            f"{type(given).__name__} is nothing to write events with: nothing was written; give "
            "a connection or cursor of sqlite3 or psycopg, a SQLAlchemy session or connection, "
            "or a connection of Django"
        )


class NoTransaction(OutboxError):
    """An event was to be written outside of a transaction."""

    code = "outbox-no-transaction"

    def __init__(self) -> None:
        super().__init__(
            "the connection commits each statement by itself: an event would be told even if the "
            "rest of the business fails; begin a transaction, and write both in it"
        )


class BrokerUnavailable(OutboxError):
    """The broker does not answer, or did not say that it has what it was sent."""

    code = "broker-unavailable"
    retry = RetryAdvice.AFTER

    def __init__(self, *, broker: str, reason: str) -> None:
        self.broker = broker
        super().__init__(
            f"{broker} does not answer, {reason}: events wait in the outbox; "
            "they go on when it is back"
        )


class NatsMissing(OutboxError):
    """The library that speaks to NATS is not installed."""

    code = "broker-client-missing"

    def __init__(self) -> None:
        super().__init__(
            "nats-py is not installed: NATS cannot be reached; "
            "install it with pip install 'moreton[nats]'"
        )


class UnknownBrokerUrl(OutboxError):
    """An address of a broker that nothing here understands."""

    code = "broker-unknown-url"

    def __init__(self, *, url: str) -> None:
        scheme = url.partition(":")[0]
        super().__init__(
            f"an address that begins with {scheme!r} is not that of a broker: no event is moved; "
            "write nats://host:4222, postgresql://…, or sqlite:///file"
        )


class EventsExpired(OutboxError):
    """The broker has deleted events that a consumer did not read."""

    code = "broker-events-expired"

    def __init__(self, *, consumer: str, topic: str, position: int, first: int) -> None:
        self.topic = topic
        super().__init__(
            f"topic {topic} begins at {first} and {consumer} has read to {position}: "
            f"{first - position - 1} messages are gone, nothing more is handled; "
            "send them again by `moreton outbox resend`, and go on with what there is by "
            f"`moreton outbox skip-lost {consumer} {topic}`"
        )


class EventRejected(OutboxError):
    """A handler says that an event can never be handled: it is not tried again."""

    code = "outbox-event-rejected"


class TransactionEnded(OutboxError):
    """A handler ended the transaction in which its event is said to be handled."""

    code = "outbox-transaction-ended"

    def __init__(self, *, by: str) -> None:
        super().__init__(
            f"a handler of events ended its transaction by {by}: what it wrote could be kept while "
            "the event counts as not handled; leave that to the consumer"
        )


class UnknownDeadLetter(OutboxError):
    """No dead letter has that number."""

    code = "outbox-unknown-dead-letter"

    def __init__(self, *, number: int) -> None:
        super().__init__(
            f"there is no dead letter {number}: nothing was changed; "
            "see `moreton outbox dead list` for those there are"
        )


class AlreadyHandled(OutboxError, ValueError):
    """A type of event has two handlers, or is handled and ignored."""

    code = "outbox-type-taken"

    def __init__(self, *, type_: str) -> None:
        super().__init__(
            f"events of type {type_!r} have a handler already, or are ignored: which one counts "
            "is not clear; remove one of them"
        )
