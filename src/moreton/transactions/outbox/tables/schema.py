"""The tables, each made if it is not there."""

from __future__ import annotations

from moreton.transactions.outbox.tables.dialect import Dialect
from moreton.transactions.outbox.tables.script import Script, Statement

INBOX_TABLES = ("moreton_inbox", "moreton_aside", "moreton_positions")
# Creating a table that another session creates at the same time fails in PostgreSQL.
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('moreton_schema', 0))"


def outbox_schema(dialect: Dialect, table: str) -> list[str]:
    """What events are written to, in the database of who writes them."""
    return [
        (
            f"CREATE TABLE IF NOT EXISTS {table} ("
            f"position {dialect.number}, "
            "id text NOT NULL CHECK (id <> ''), "
            "key text NOT NULL, "
            "event text NOT NULL, "
            f"written_at {dialect.moment} NOT NULL DEFAULT {_default(dialect)}, "
            f"sent_at {dialect.moment})"
        ),
        f"CREATE INDEX IF NOT EXISTS {table}_unsent ON {table} (position) WHERE sent_at IS NULL",
        *_leases(),
    ]


def inbox_schema(dialect: Dialect) -> list[str]:
    """What was handled, and what is set aside, in the database of who handles events."""
    return [
        (
            "CREATE TABLE IF NOT EXISTS moreton_inbox ("
            "consumer text NOT NULL, source text NOT NULL, id text NOT NULL, "
            f"at {dialect.moment} NOT NULL DEFAULT {_default(dialect)}, "
            # Ids differ, consumers and sources hardly: before them they are compared in vain, which
            # takes the server as long as a fifth of all that it does for an event that arrives.
            "PRIMARY KEY (id, source, consumer))"
        ),
        "CREATE INDEX IF NOT EXISTS moreton_inbox_at ON moreton_inbox (at)",
        (
            "CREATE TABLE IF NOT EXISTS moreton_positions ("
            "consumer text NOT NULL, topic text NOT NULL, position bigint NOT NULL, "
            "epoch text NOT NULL, "
            "PRIMARY KEY (consumer, topic))"
        ),
        (
            "CREATE TABLE IF NOT EXISTS moreton_aside ("
            f"number {dialect.number}, "
            "consumer text NOT NULL, source text NOT NULL, id text NOT NULL, key text NOT NULL, "
            "type text NOT NULL, event text NOT NULL, reason text NOT NULL, "
            "attempts integer NOT NULL, dead integer NOT NULL, holds integer NOT NULL, "
            f"due_at {dialect.moment} NOT NULL, at {dialect.moment} NOT NULL)"
        ),
        (
            "CREATE INDEX IF NOT EXISTS moreton_aside_key "
            "ON moreton_aside (consumer, source, key, number)"
        ),
        *_leases(),
    ]


def broker_schema(dialect: Dialect) -> list[str]:
    """The built-in broker's log."""
    body = "bytea" if dialect.is_postgres else "blob"
    return [
        (
            "CREATE TABLE IF NOT EXISTS moreton_topics ("
            "topic text PRIMARY KEY, first bigint NOT NULL, last bigint NOT NULL, "
            "epoch text NOT NULL)"
        ),
        (
            "CREATE TABLE IF NOT EXISTS moreton_frames ("
            f"topic text NOT NULL, position bigint NOT NULL, body {body} NOT NULL, "
            f"at {dialect.moment} NOT NULL DEFAULT {_default(dialect)}, "
            "PRIMARY KEY (topic, position))"
        ),
    ]


def install(dialect: Dialect, schema: list[str]) -> Script[None]:
    """Make what is missing of *schema*."""
    if dialect.is_postgres:
        yield [Statement(_ONE_AT_A_TIME)]
    for sql in schema:
        yield [Statement(sql)]


def has_tables(dialect: Dialect, *names: str) -> Script[bool]:
    """Whether all tables of *names* are there: who only looks makes none."""
    sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    if dialect.is_postgres:
        sql = "SELECT 1 WHERE to_regclass(?::text) IS NOT NULL"
    found = yield [Statement(sql, (name,)) for name in names]
    return all(found)


def _leases() -> list[str]:
    return [
        (
            "CREATE TABLE IF NOT EXISTS moreton_leases ("
            "name text PRIMARY KEY, holder text NOT NULL, token bigint NOT NULL, "
            "beat bigint NOT NULL)"
        )
    ]


def _default(dialect: Dialect) -> str:
    return f"({dialect.now})"
