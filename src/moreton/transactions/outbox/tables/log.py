"""The built-in broker's log: a row per message, numbered without gaps.

Who appends holds the row of the topic until the commit, so that positions become visible in their
order and a reader may go by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from moreton.transactions.outbox.tables.dialect import Dialect
from moreton.transactions.outbox.tables.script import Script, Statement

PRUNE_ROWS_MAX = 500


def append(topic: str, body: bytes, epoch: str) -> Script[int]:
    """Put *body* at the end of *topic*, which is made with *epoch* if it is new; its position."""
    (rows,) = yield [
        Statement(
            "INSERT INTO moreton_topics AS known (topic, first, last, epoch) VALUES (?, 1, 1, ?) "
            "ON CONFLICT (topic) DO UPDATE SET last = known.last + 1 RETURNING last",
            (topic, epoch),
        )
    ]
    position = int(rows[0][0])
    yield [
        Statement(
            "INSERT INTO moreton_frames (topic, position, body) VALUES (?, ?, ?)",
            (topic, position, body),
        )
    ]
    return position


def after(topic: str, position: int, limit: int) -> Script[Sequence[tuple[int, bytes]]]:
    """The messages behind *position*."""
    (rows,) = yield [
        Statement(
            "SELECT position, body FROM moreton_frames WHERE topic = ? AND position > ? "
            "ORDER BY position LIMIT ?",
            (topic, position, limit),
        )
    ]
    return [(int(place), bytes(body)) for place, body in rows]


def extent(topic: str) -> Script[tuple[int, int, str]]:
    """The first and the last position that are there, and the epoch."""
    (rows,) = yield [
        Statement("SELECT first, last, epoch FROM moreton_topics WHERE topic = ?", (topic,))
    ]
    return (int(rows[0][0]), int(rows[0][1]), str(rows[0][2])) if rows else (1, 0, "")


def expire(dialect: Dialect, topic: str, retain: timedelta) -> Script[int]:
    """Delete messages that are older than *retain*, up to `PRUNE_ROWS_MAX`; how many.

    The oldest alone are looked at, whatever is kept behind them.
    """
    old = (
        "SELECT position FROM (SELECT position, at FROM moreton_frames WHERE topic = ? "
        f"ORDER BY position LIMIT {PRUNE_ROWS_MAX}) AS oldest WHERE at < {dialect.later}"
    )
    (rows,) = yield [
        Statement(
            f"DELETE FROM moreton_frames WHERE topic = ? AND position IN ({old}) "
            "RETURNING position",
            (topic, topic, -retain.total_seconds()),
        )
    ]
    if rows:
        first = max(int(row[0]) for row in rows) + 1
        yield [Statement("UPDATE moreton_topics SET first = ? WHERE topic = ?", (first, topic))]
    return len(rows)
