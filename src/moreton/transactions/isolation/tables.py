"""The tables of locks and version files, each made if it is not there."""

from __future__ import annotations

from typing import Any

from moreton.transactions.outbox.tables.dialect import POSTGRES, SQLITE, Dialect
from moreton.transactions.outbox.tables.schema import install as make
from moreton.transactions.outbox.writers import writer_of


def schema(dialect: str) -> list[str]:
    """The statements that `install` runs, for migrations of `postgresql` or `sqlite`."""
    known = {POSTGRES.name: POSTGRES, SQLITE.name: SQLITE}
    if dialect not in known:
        raise ValueError(f"dialect is {dialect!r}: give one of {', '.join(known)}")
    return _statements(known[dialect])


def install(connection: Any) -> None:
    """Make the tables if they are not there; *connection* commits them."""
    writer = writer_of(connection, atomic=False)
    writer.run(make(writer.dialect, _statements(writer.dialect)))


def _statements(dialect: Dialect) -> list[str]:
    at = f"at {dialect.moment} NOT NULL"
    return [
        # Whoever asks for a name, or leaves it, holds its row until the end of its transaction.
        f"CREATE TABLE IF NOT EXISTS moreton_lock_name (name text PRIMARY KEY, {at})",
        (
            f"CREATE TABLE IF NOT EXISTS moreton_lock (place {dialect.number}, "
            "name text NOT NULL, owner text NOT NULL, there integer NOT NULL, "
            f"note text NOT NULL, {at}, UNIQUE (name, owner))"
        ),
        (
            "CREATE INDEX IF NOT EXISTS moreton_lock_queue ON moreton_lock (name, place) "
            "WHERE there = 1"
        ),
        "CREATE INDEX IF NOT EXISTS moreton_lock_owner ON moreton_lock (owner) WHERE there = 1",
        (
            "CREATE TABLE IF NOT EXISTS moreton_version_next ("
            f"subject text PRIMARY KEY, next bigint NOT NULL, {at})"
        ),
        (
            "CREATE TABLE IF NOT EXISTS moreton_version (subject text NOT NULL, "
            f"number bigint NOT NULL, operation text NOT NULL, {at}, "
            "PRIMARY KEY (subject, number))"
        ),
    ]
