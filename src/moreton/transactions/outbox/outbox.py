"""Events written in the transaction of what they tell of."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from moreton.kernel.arguments import check_kind
from moreton.kernel.ids import new_id
from moreton.kernel.rng import system_rng
from moreton.kernel.time import Clock, SystemClock
from moreton.transactions.failpoints import Failpoint
from moreton.transactions.outbox.core.event import EVENT_BYTES_MAX, Event, Extension, encode
from moreton.transactions.outbox.errors import EventRefused, EventTooLarge, OutboxMissing
from moreton.transactions.outbox.tables import outgoing, schema
from moreton.transactions.outbox.tables.dialect import Dialect
from moreton.transactions.outbox.writers import writer_of, writer_of_async
from moreton.transactions.tracing import headers

if TYPE_CHECKING:
    from moreton.transactions.outbox.bell import Bell

TABLE = "moreton_outbox"
_WRITING, _WRITTEN = Failpoint("outbox.writing"), Failpoint("outbox.written")
_TOPIC = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_TABLE = re.compile(r"[a-z_][a-z0-9_]{0,40}")


def check_topic(topic: str) -> None:
    """Raise `ValueError` for what cannot be the name of a topic."""
    check_kind("topic", topic, str, "a text")
    if not _TOPIC.fullmatch(topic):
        raise ValueError(f"topic is {topic!r}: give up to 63 of a-z, 0-9, _ and -")


class Outbox:
    """Where one service writes what happened; *topic* is what others know it by.

    *source* is the CloudEvents attribute, `/topic` unless given. Cheap to make, safe between
    threads, and the same for every connection::

        outbox = Outbox("orders")

        with connection.transaction():
            connection.execute("INSERT INTO orders …")
            outbox.add(connection, "order.placed", {"total": 1250}, subject="order-17")

    Events of the same *subject* are handled in the order of their transactions. A *bell* wakes the
    relay at once after commits of Django and of sessions of SQLAlchemy; after others ring it.
    """

    def __init__(
        self,
        topic: str,
        *,
        source: str = "",
        table: str = TABLE,
        bell: Bell | None = None,
        clock: Clock | None = None,
    ) -> None:
        check_topic(topic)
        check_kind("table", table, str, "a text")
        if not _TABLE.fullmatch(table):
            raise ValueError(f"table is {table!r}: give up to 41 of a-z, 0-9 and _")
        self.topic = topic
        self.source = source or f"/{topic}"
        self.table = table
        self.bell = bell
        self._clock = clock or SystemClock()
        self._rng = system_rng()

    def add(
        self,
        connection: Any,
        type: str,  # noqa: A002 - the attribute's name
        data: Any = None,
        *,
        subject: str = "",
        id: str = "",  # noqa: A002 - the attribute's name
        dataschema: str = "",
        extensions: Mapping[str, Extension] | None = None,
    ) -> Event:
        """Write one event with *connection*, in the transaction that it is in.

        *connection*: of sqlite3 or psycopg, a SQLAlchemy `Session` or `Connection`, or Django's
        `connection`. An *id* of your own makes writing the same event again harmless.

        Raises `EventRefused`, `EventTooLarge`, `NoTransaction` and `UnknownConnection`.
        """
        event = self.event(
            type, data, subject=subject, id=id, dataschema=dataschema, extensions=extensions
        )
        self.add_many(connection, [event])
        return event

    async def add_async(self, connection: Any, type: str, data: Any = None, **more: Any) -> Event:  # noqa: A002
        """As `add`, with psycopg's `AsyncConnection` or SQLAlchemy's `AsyncSession`."""
        event = self.event(type, data, **more)
        await self.add_many_async(connection, [event])
        return event

    def add_many(self, connection: Any, events: Iterable[Event]) -> None:
        """Write *events*, made by `event`, with one statement."""
        rows = self._rows(events)
        if rows:
            writer = writer_of(connection)
            _WRITING()
            with self._known():
                writer.run(outgoing.add(writer.dialect, self.table, rows))
            _WRITTEN()
            if self.bell is not None and writer.when_committed is not None:
                writer.when_committed(self.bell.ring)

    async def add_many_async(self, connection: Any, events: Iterable[Event]) -> None:
        """As `add_many`, with an asynchronous connection."""
        rows = self._rows(events)
        if rows:
            writer = writer_of_async(connection)
            _WRITING()
            with self._known():
                await writer.run(outgoing.add(writer.dialect, self.table, rows))
            _WRITTEN()
            if self.bell is not None and writer.when_committed is not None:
                writer.when_committed(self.bell.ring)

    def event(
        self,
        type: str,  # noqa: A002 - the attribute's name
        data: Any = None,
        *,
        subject: str = "",
        id: str = "",  # noqa: A002 - the attribute's name
        dataschema: str = "",
        extensions: Mapping[str, Extension] | None = None,
    ) -> Event:
        """An event of this outbox, not written yet; it carries the trace of the current span."""
        now = self._clock.wall()
        return Event(
            type,
            data,
            subject,
            self.source,
            id or new_id(now, self._rng),
            now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            dataschema,
            {**headers(), **(extensions or {})},
        )

    def install(self, connection: Any) -> None:
        """Make the table if it is not there; relays do so, too, before they read."""
        writer = writer_of(connection, atomic=False)
        writer.run(schema.install(writer.dialect, self.schema(writer.dialect)))

    def schema(self, dialect: Dialect) -> list[str]:
        """The statements that `install` runs, for migrations."""
        return schema.outbox_schema(dialect, self.table)

    @contextlib.contextmanager
    def _known(self) -> Iterator[None]:
        """Say what is to be done when there is no table."""
        try:
            yield
        except Exception as error:
            words = str(error)
            if self.table in words and ("no such table" in words or "does not exist" in words):
                raise OutboxMissing(table=self.table) from error
            raise

    def _rows(self, events: Iterable[Event]) -> list[tuple[str, str, str]]:
        rows = []
        for event in events:
            check_kind("event", event, Event, "what Outbox.event makes")
            try:
                text = encode(event)
            except ValueError as error:
                raise EventRefused(type_=event.type, reason=str(error)) from error
            size = len(text.encode())
            if size > EVENT_BYTES_MAX:
                raise EventTooLarge(type_=event.type, size=size, limit=EVENT_BYTES_MAX)
            rows.append((event.id, event.key, text))
        # Two transactions that lock several keys in different orders would wait for each other.
        rows.sort(key=lambda row: row[1])
        return rows
