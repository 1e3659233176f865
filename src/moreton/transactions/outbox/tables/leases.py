"""The row that says who may act alone, and the write that only its holder can make."""

from __future__ import annotations

from datetime import timedelta

from moreton.transactions.outbox.core.tenure import Seen
from moreton.transactions.outbox.tables.dialect import Dialect
from moreton.transactions.outbox.tables.script import Script, Statement

# A holder's transaction that says nothing for this many times its lease is ended by the server, so
# that a frozen process does not hold up the next holder.
SILENT_LEASES_MAX = 2


def look(name: str) -> Script[Seen]:
    """How the lease stands."""
    find = Statement("SELECT holder, token, beat FROM moreton_leases WHERE name = ?", (name,))
    (rows,) = yield [find]
    if not rows:
        yield [
            Statement(
                "INSERT INTO moreton_leases (name, holder, token, beat) VALUES (?, '', 0, 0) "
                "ON CONFLICT (name) DO NOTHING",
                (name,),
            )
        ]
        (rows,) = yield [find]
    return Seen(*rows[0])


def take(name: str, holder: str, seen: Seen) -> Script[int | None]:
    """The new token; `None` when it is not as *seen* any more."""
    (rows,) = yield [
        Statement(
            "UPDATE moreton_leases SET holder = ?, token = token + 1, beat = 0 "
            "WHERE name = ? AND token = ? AND beat = ? AND holder = ? RETURNING token",
            (holder, name, seen.token, seen.beat, seen.holder),
        )
    ]
    return int(rows[0][0]) if rows else None


def fence(dialect: Dialect, name: str, token: int, ttl: timedelta) -> Statement:
    """Answers with one row when *token* holds, which it then does until the transaction's end."""
    silent = ""
    values: list[object] = [name, token]
    if dialect.is_postgres:
        silent = ", set_config('idle_in_transaction_session_timeout', ?, true)"
        milliseconds = ttl * SILENT_LEASES_MAX // timedelta(milliseconds=1)
        values.append(str(milliseconds))
    sql = "UPDATE moreton_leases SET beat = beat + 1 WHERE name = ? AND token = ? RETURNING token"
    return Statement(sql + silent, values)


def beat(dialect: Dialect, name: str, token: int, ttl: timedelta) -> Script[bool]:
    """Say that we live; whether we hold it."""
    (rows,) = yield [fence(dialect, name, token, ttl)]
    return bool(rows)


def release(name: str, token: int) -> Script[None]:
    """Let the next one have it at once."""
    yield [
        Statement(
            "UPDATE moreton_leases SET holder = '' WHERE name = ? AND token = ?", (name, token)
        )
    ]
