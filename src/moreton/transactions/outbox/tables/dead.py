"""Events set aside, as people see and change them."""

from __future__ import annotations

from dataclasses import dataclass

from moreton.transactions.outbox.tables.dialect import Dialect
from moreton.transactions.outbox.tables.script import Script, Statement

LISTED_MAX = 1000


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that is set aside; not *dead*: it is tried again, or waits behind *behind*."""

    number: int
    consumer: str
    source: str
    id: str
    key: str
    type: str
    reason: str
    attempts: int
    dead: bool
    age_seconds: float
    behind: int
    event: str


def listing(
    dialect: Dialect, *, consumer: str = "", number: int = 0, every: bool = False
) -> Script[list[DeadLetter]]:
    """The dead letters, with *every* all events set aside; the oldest `LISTED_MAX`."""
    now, at = dialect.epoch.format(dialect.now), dialect.epoch.format("one.at")
    chosen = (
        "(? = '' OR one.consumer = ?) AND (? = 0 OR one.number = ?) AND (one.dead = 1 OR ? = 1)"
    )
    (rows,) = yield [
        Statement(
            "SELECT number, consumer, source, id, key, type, reason, attempts, dead, "
            f"{now} - {at}, (SELECT count(*) FROM moreton_aside AS other "
            "WHERE other.consumer = one.consumer AND other.source = one.source "
            "AND other.key = one.key AND other.number > one.number), event "
            f"FROM moreton_aside AS one WHERE {chosen} ORDER BY number LIMIT {LISTED_MAX}",
            (consumer, consumer, number, number, int(every)),
        )
    ]
    return [DeadLetter(*(*row[:8], bool(row[8]), float(row[9]), *row[10:])) for row in rows]


def replay(dialect: Dialect, numbers: list[int]) -> Script[int]:
    """Have the dead ones of *numbers* tried as if they were new; how many that are."""
    listed, values = dialect.within("bigint", numbers)
    (rows,) = yield [
        Statement(
            f"UPDATE moreton_aside SET dead = 0, holds = 1, attempts = 0, due_at = {dialect.now} "
            f"WHERE dead = 1 AND number {listed} RETURNING number",
            values,
        )
    ]
    return len(rows)


def drop(dialect: Dialect, numbers: list[int]) -> Script[int]:
    """Delete the dead ones of *numbers*: what waits behind them goes on. How many that were."""
    listed, values = dialect.within("bigint", numbers)
    (rows,) = yield [
        Statement(
            f"DELETE FROM moreton_aside WHERE dead = 1 AND number {listed} RETURNING number",
            values,
        )
    ]
    return len(rows)
