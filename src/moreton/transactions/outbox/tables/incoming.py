"""The inbox's tables: what was handled, how far each topic was read, what is set aside."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from moreton.transactions.outbox.core.deciding import Name, SetAside
from moreton.transactions.outbox.core.event import Arrived, Event, encode_read
from moreton.transactions.outbox.tables.dialect import Dialect
from moreton.transactions.outbox.tables.script import Script, Statement

ASIDE_AT_ONCE_MAX = 100
FORGET_ROWS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a topic was read, and in which of its epochs."""

    position: int
    epoch: str


@dataclass(frozen=True, slots=True)
class Aside:
    """An event that is set aside."""

    number: int
    text: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """What the inbox knew of a batch when its transaction began; not *ours*: another has it."""

    ours: bool
    fresh: Collection[Name] = ()
    held: Collection[Name] = ()


def arrive(
    dialect: Dialect,
    consumer: str,
    mine: Statement,
    arrived: Sequence[Arrived],
    places: Mapping[str, Reached],
) -> Script[Arrival]:
    """Begin a transaction: fence it, say how far each topic is read, record what *arrived*."""
    held = Statement(
        "SELECT DISTINCT source, key FROM moreton_aside WHERE consumer = ? AND holds = 1",
        (consumer,),
    )
    guard = "EXISTS (SELECT 1 FROM mine)" if dialect.is_postgres else "true"
    names = [(one.source, one.id) for one in arrived]
    writes = {}
    if arrived:
        writes["fresh"] = _record(dialect, consumer, names, guard)
    if places:
        writes["moved"] = _move(dialect, consumer, places, guard)
    if dialect.is_postgres:
        (found,) = yield [_together({"mine": mine, "held": held, **writes})]
        kinds: dict[str, set[Name]] = {"mine": set(), "held": set(), "fresh": set()}
        for kind, source, name in found:
            kinds[kind].add((source, name))
        return Arrival(bool(kinds["mine"]), kinds["fresh"], kinds["held"])
    (ours,) = yield [mine]
    if not ours:
        return Arrival(ours=False)
    rows = yield [held, *writes.values()]
    return Arrival(
        ours=True,
        fresh={(source, id_) for source, id_ in rows[1]} if arrived else (),
        held={(source, key) for source, key in rows[0]},
    )


def _together(parts: Mapping[str, Statement]) -> Statement:
    """One statement: a trip for each, or a pipeline of psycopg's, takes twice the processor."""
    said = ", ".join(f"{name} AS ({each.sql})" for name, each in parts.items())
    sql = f"WITH {said} SELECT 'mine', '', '' FROM mine UNION ALL SELECT 'held', * FROM held"
    if "fresh" in parts:
        sql += " UNION ALL SELECT 'fresh', * FROM fresh"
    return Statement(sql, [value for each in parts.values() for value in each.values])


def _record(dialect: Dialect, consumer: str, names: Sequence[Name], guard: str) -> Statement:
    source, values = dialect.table({"source": "text", "id": "text"}, names)
    return Statement(
        f"INSERT INTO moreton_inbox (consumer, source, id) SELECT ?, source, id FROM {source} "
        f"WHERE {guard} ON CONFLICT DO NOTHING RETURNING source, id",
        [consumer, *values],
    )


def _move(dialect: Dialect, consumer: str, places: Mapping[str, Reached], guard: str) -> Statement:
    number = "CAST(? AS bigint)" if dialect.is_postgres else "?"
    # Few and the same each time: one by one they take the server less than from a list.
    rows = " UNION ALL ".join([f"SELECT ?, ?, {number}, ? WHERE {guard}"] * len(places))
    return Statement(
        f"INSERT INTO moreton_positions (consumer, topic, position, epoch) {rows} "
        "ON CONFLICT (consumer, topic) DO UPDATE "
        "SET position = excluded.position, epoch = excluded.epoch",
        [
            value
            for topic, place in places.items()
            for value in (consumer, topic, place.position, place.epoch)
        ],
    )


def places(consumer: str) -> Script[dict[str, Reached]]:
    """How far each topic was read."""
    (rows,) = yield [
        Statement(
            "SELECT topic, position, epoch FROM moreton_positions WHERE consumer = ?", (consumer,)
        )
    ]
    return {topic: Reached(int(position), epoch) for topic, position, epoch in rows}


def set_aside(dialect: Dialect, consumer: str, steps: Sequence[SetAside]) -> Script[None]:
    """Keep the events of *steps*."""
    for step in steps:
        event = step.event
        type_, text = (
            (event.type, encode_read(event)) if isinstance(event, Event) else ("", event.text)
        )
        yield [
            Statement(
                "INSERT INTO moreton_aside (consumer, source, id, key, type, event, reason, "
                "attempts, dead, holds, due_at, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
                f"{dialect.later}, {dialect.now})",
                (
                    consumer,
                    event.source,
                    event.id,
                    event.key,
                    type_,
                    text,
                    step.reason,
                    1 if step.wait else 0,
                    int(step.dead),
                    int(step.holds),
                    step.wait.total_seconds(),
                ),
            )
        ]


def due(dialect: Dialect, consumer: str) -> Script[list[Aside]]:
    """The events set aside whose time has come, and that wait behind no other."""
    (rows,) = yield [
        Statement(
            "SELECT number, event, attempts FROM moreton_aside AS one WHERE consumer = ? "
            f"AND dead = 0 AND due_at <= {dialect.now} AND NOT EXISTS (SELECT 1 "
            "FROM moreton_aside AS other WHERE other.consumer = one.consumer "
            "AND other.source = one.source AND other.key = one.key "
            "AND other.number < one.number AND other.holds = 1) "
            f"ORDER BY number LIMIT {ASIDE_AT_ONCE_MAX}",
            (consumer,),
        )
    ]
    return [Aside(*row) for row in rows]


def claim(mine: Statement, number: int) -> Script[tuple[bool, bool]]:
    """Begin a transaction about one event set aside: is it ours, and is it still there."""
    delete = Statement(
        "DELETE FROM moreton_aside WHERE number = ? AND dead = 0 RETURNING 1", (number,)
    )
    (ours,) = yield [mine]
    if not ours:
        return False, False
    (rows,) = yield [delete]
    return True, bool(rows)


def failed_again(
    dialect: Dialect, mine: Statement, number: int, attempts: int, step: SetAside
) -> Script[bool]:
    """Say what follows of another failure; whether it was ours to say."""
    (ours,) = yield [mine]
    if ours:
        yield [
            Statement(
                "UPDATE moreton_aside SET attempts = ?, reason = ?, dead = ?, holds = ?, "
                f"due_at = {dialect.later} WHERE number = ?",
                (
                    attempts,
                    step.reason,
                    int(step.dead),
                    int(step.holds),
                    step.wait.total_seconds(),
                    number,
                ),
            )
        ]
    return bool(ours)


def counts(consumer: str) -> Script[tuple[int, int]]:
    """How many events are set aside, and how many of them are dead."""
    (rows,) = yield [
        Statement(
            "SELECT count(*), coalesce(sum(dead), 0) FROM moreton_aside WHERE consumer = ?",
            (consumer,),
        )
    ]
    return int(rows[0][0]), int(rows[0][1])


def forget(
    dialect: Dialect, consumer: str, mine: Statement, remember: timedelta
) -> Script[int | None]:
    """Delete what was handled longer than *remember* ago, up to `FORGET_ROWS_MAX`; how many.

    `None` when it was not ours to do.
    """
    (ours,) = yield [mine]
    if not ours:
        return None
    (rows,) = yield [
        Statement(
            "DELETE FROM moreton_inbox WHERE (consumer, source, id) IN ("
            "SELECT consumer, source, id FROM moreton_inbox "
            f"WHERE at < {dialect.later} AND consumer = ? LIMIT {FORGET_ROWS_MAX}) RETURNING 1",
            (-remember.total_seconds(), consumer),
        )
    ]
    return len(rows)
