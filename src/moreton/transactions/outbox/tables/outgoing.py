"""The outbox's table: written by the business, read and marked by the relay."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from moreton.transactions.outbox.core.relaying import Row
from moreton.transactions.outbox.tables.dialect import Dialect
from moreton.transactions.outbox.tables.leases import fence
from moreton.transactions.outbox.tables.script import Script, Statement

# What is deleted at a time holds up what waits to be sent.
PRUNE_ROWS_MAX = 1000
_COLUMNS = {"id": "text", "key": "text", "event": "text"}


def add(dialect: Dialect, table: str, rows: Sequence[tuple[str, str, str]]) -> Script[None]:
    """Write *rows* of id, key and text.

    In PostgreSQL the key is locked before the position is drawn and until the transaction ends, so
    that the positions of a key are in the order of commits; SQLite has one writer at a time.
    """
    if len(rows) == 1:
        source = "(SELECT ? AS id, ? AS key, ? AS event) AS given"
        values: list[object] = list(rows[0])
        if dialect.is_postgres:
            source = "(VALUES (?::text, ?::text, ?::text)) AS given(id, key, event)"
    else:
        source, values = dialect.table(_COLUMNS, rows)
    if dialect.is_postgres:
        lock = f"pg_advisory_xact_lock(hashtextextended('{table}/' || key, 0))"
        source = f"(SELECT id, key, event, {lock} AS locked FROM {source}) AS given"
    yield [
        Statement(
            f"INSERT INTO {table} (id, key, event) SELECT id, key, event FROM {source}", values
        )
    ]


def unsent(table: str, limit: int) -> Script[list[Row]]:
    """The oldest events that are not marked."""
    (rows,) = yield [_oldest(table, limit)]
    return [Row(position, text) for position, text in rows]


def _oldest(table: str, limit: int) -> Statement:
    return Statement(
        f"SELECT position, event FROM {table} WHERE sent_at IS NULL ORDER BY position LIMIT ?",
        (limit,),
    )


def mark(
    dialect: Dialect,
    table: str,
    mine: Statement,
    positions: Sequence[int],
    *,
    keep: bool,
    limit: int,
) -> Script[list[Row] | None]:
    """Say that *positions* are sent; the oldest events that are not, *limit* at most.

    `None`, and nothing said, when the fence *mine* is not ours. Without *keep* they are deleted.
    """
    listed, values = dialect.within("bigint", positions)
    change = f"UPDATE {table} SET sent_at = {dialect.now} WHERE position {listed}"
    if not keep:
        change = f"DELETE FROM {table} WHERE position {listed}"
    if dialect.is_postgres:
        source, _ = dialect.table({"place": "bigint"}, [])
        sql = (
            # A mark that a crash undoes is an event that inboxes find to be there already.
            f"WITH mine AS ({mine.sql}, set_config('synchronous_commit', 'off', true)), "
            f"done AS ({change} AND EXISTS (SELECT 1 FROM mine)) "
            # Every part of a statement sees what was there before it.
            f"SELECT next.position, next.event FROM mine LEFT JOIN (SELECT position, event "
            f"FROM {table} WHERE sent_at IS NULL AND position NOT IN (SELECT place FROM {source}) "
            "ORDER BY position LIMIT ?) AS next ON true ORDER BY next.position"
        )
        (rows,) = yield [Statement(sql, [*mine.values, *values, *values, limit])]
        if not rows:
            return None
        return [Row(position, text) for position, text in rows if position is not None]
    (held,) = yield [mine]
    if not held:
        return None
    yield [Statement(change, values)]
    return (yield from unsent(table, limit))


def prune(dialect: Dialect, table: str, mine: Statement, keep: timedelta) -> Script[int | None]:
    """Delete what was sent longer than *keep* ago, up to `PRUNE_ROWS_MAX`; how many.

    `None` when it is not ours. Looks at the oldest rows alone, as they were sent in their order: a
    look at all that is kept would take longer the more there is.
    """
    (held,) = yield [mine]
    if not held:
        return None
    (rows,) = yield [
        Statement(
            f"DELETE FROM {table} WHERE position IN (SELECT position FROM ("
            f"SELECT position, sent_at FROM {table} ORDER BY position LIMIT {PRUNE_ROWS_MAX}) "
            f"AS oldest WHERE sent_at < {dialect.later}) RETURNING 1",
            (-keep.total_seconds(),),
        )
    ]
    return len(rows)


def resend(dialect: Dialect, table: str, since: timedelta) -> Script[int]:
    """Unmark what was sent within *since*: for a broker that lost it. How many."""
    (rows,) = yield [
        Statement(
            f"UPDATE {table} SET sent_at = NULL WHERE sent_at >= {dialect.later} RETURNING 1",
            (-since.total_seconds(),),
        )
    ]
    return len(rows)


def backlog(dialect: Dialect, table: str) -> Script[tuple[int, float, int]]:
    """Unsent events, the age in seconds of the oldest, and how many are kept after being sent."""
    now, oldest = dialect.epoch.format(dialect.now), dialect.epoch.format("min(written_at)")
    (waiting,), (kept,) = yield [
        Statement(f"SELECT count(*), {now} - {oldest} FROM {table} WHERE sent_at IS NULL"),
        Statement(f"SELECT count(*) FROM {table} WHERE sent_at IS NOT NULL"),
    ]
    return int(waiting[0]), float(waiting[1] or 0), int(kept[0])


__all__ = ["add", "backlog", "fence", "mark", "prune", "resend", "unsent"]
