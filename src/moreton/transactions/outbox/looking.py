"""What operators see of a database's outbox and inboxes, and what they can have done."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from moreton.transactions.outbox.outbox import Outbox
from moreton.transactions.outbox.places import Place, open_place
from moreton.transactions.outbox.tables import outgoing, overview
from moreton.transactions.outbox.tables.dialect import POSTGRES, SQLITE
from moreton.transactions.outbox.tables.schema import (
    INBOX_TABLES,
    has_tables,
    inbox_schema,
    outbox_schema,
)


def look(database: str | Place, table: str) -> dict[str, Any]:
    """How many events wait in the outbox *table*, for how long, and how its inboxes are.

    Tables that are not there count as empty, and are not made.
    """
    place = open_place(database)
    dialect = place.dialect

    def has(*names: str) -> bool:
        return place.ask(has_tables(dialect, *names))

    unsent, oldest, kept = (
        place.ask(outgoing.backlog(dialect, table)) if has(table) else (0, 0.0, 0)
    )
    found = {
        "unsent": unsent,
        "oldest_seconds": oldest,
        "kept": kept,
        "consumers": place.ask(overview.consumers()) if has(*INBOX_TABLES) else [],
        "leases": place.ask(overview.leases()) if has("moreton_leases") else [],
    }
    place.close()
    return found


def send_again(database: str | Place, outbox: Outbox, since: timedelta) -> int:
    """Have the relay send what was sent within *since* and is still kept; how many events."""
    place = open_place(database)
    count = place.run(outgoing.resend(place.dialect, outbox.table, since))
    place.close()
    return count


def tables(dialect: str, table: str) -> list[str]:
    """The statements that make the tables of an outbox and an inbox."""
    words = POSTGRES if dialect == POSTGRES.name else SQLITE
    return list(dict.fromkeys([*outbox_schema(words, table), *inbox_schema(words)]))


def forget_position(database: str | Place, consumer: str, topic: str) -> bool:
    """Have *consumer* read *topic* from the first message there is; whether it had a position.

    For messages that a broker lost or deleted. What it handled before, it knows.
    """
    place = open_place(database)
    found = place.run(overview.forget_position(consumer, topic))
    place.close()
    return found
