"""A lock that means something to the business, and whose waiters queue in the database.

Whoever asks for a name or leaves it holds the row of that name until its transaction ends, so that
a queue has one order, also for those that come at once. An owner that left leaves its row behind: a
request of its that arrives afterwards finds it, and does not wait for what nobody would leave.

Source: Frank and Zahle, "Semantic ACID properties in multidatabases using remote procedure calls
and update propagations", Software: Practice and Experience 28, 1998; the queue is that of Eventuate
Tram's stashed messages.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from moreton.kernel.arguments import check_duration
from moreton.transactions.barrier.call import check_name
from moreton.transactions.isolation.errors import CircleOfWaits, QueueFull
from moreton.transactions.isolation.running import run, run_async
from moreton.transactions.outbox.tables.dialect import Dialect
from moreton.transactions.outbox.tables.script import Script, Statement

QUEUE_MAX = 1000
NOTE_CHARS_MAX = 64 * 1024
LISTED_MAX = 1000


class Place(StrEnum):
    """How an owner stands: it has the lock, waits for it, or has left it for good."""

    HELD = "held"
    WAITING = "waiting"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Turn:
    """True for the one owner that has the lock; *ahead* are before it, *holder* has it."""

    name: str
    owner: str
    place: Place
    ahead: int = 0
    holder: str = ""

    def __bool__(self) -> bool:
        """Whether it is this owner's."""
        return self.place is Place.HELD


@dataclass(frozen=True, slots=True)
class Waiting:
    """Who asked for a lock, with the note that it left; for *seconds* by now."""

    name: str
    owner: str
    note: Any
    seconds: float


class SemanticLock:
    """The lock called *name* in the participant's database: what its owner changes is not certain.

    An owner is a saga or a transaction, not a process: it holds the lock from step to step, and
    over restarts, until one of its steps or undoings leaves it. It asks once or often, and leaves
    once: what it asks for afterwards is refused, as it arrived too late.
    """

    def __init__(self, name: str) -> None:
        check_name("name", name)
        self.name = name

    def take(self, connection: Any, *, owner: str, note: Any = None) -> Turn:
        """Ask for it, or ask again; commit whether or not it is *owner*'s turn.

        *note*, which JSON can say, is handed to whoever leaves before it: with what is to be done,
        that one can do it at once. Raises `CircleOfWaits`, `QueueFull`, `IsolationMissing`.
        """
        text = _checked(owner, note)
        return run(connection, lambda dialect: _take(dialect, self.name, owner, text))

    async def take_async(self, connection: Any, *, owner: str, note: Any = None) -> Turn:
        """As `take`."""
        text = _checked(owner, note)
        return await run_async(connection, lambda dialect: _take(dialect, self.name, owner, text))

    def leave(self, connection: Any, *, owner: str) -> Waiting | None:
        """Let it go, or stop waiting; the one whose turn it is now by that, with its note.

        Harmless when *owner* never asked, and keeps it from asking afterwards.
        """
        _checked(owner, None)
        return run(connection, lambda dialect: _leave(dialect, self.name, owner))

    async def leave_async(self, connection: Any, *, owner: str) -> Waiting | None:
        """As `leave`."""
        _checked(owner, None)
        return await run_async(connection, lambda dialect: _leave(dialect, self.name, owner))

    def queue(self, connection: Any) -> list[Waiting]:
        """Its holder, then those who wait, the first thousand."""
        return run(connection, lambda dialect: _queue(dialect, self.name))

    @staticmethod
    def held(connection: Any, *, longer_than: timedelta) -> list[Waiting]:
        """Who has any lock for *longer_than*, since it asked; for an alarm. The oldest thousand."""
        check_duration("longer_than", longer_than, zero=True)
        return run(connection, lambda dialect: _held(dialect, longer_than))

    @staticmethod
    def forget(connection: Any, *, older_than: timedelta) -> int:
        """Remove what is left of owners that asked longer ago, and have left; how many.

        Keep them for longer than a request may arrive late.
        """
        check_duration("older_than", older_than)
        return run(connection, lambda dialect: _forget(dialect, older_than))


def _checked(owner: str, note: Any) -> str:
    check_name("owner", owner)
    try:
        text = json.dumps(note)
    except (TypeError, ValueError) as error:
        raise TypeError(f"note cannot be kept as JSON, {error}: give plain values") from error
    if len(text) > NOTE_CHARS_MAX:
        raise ValueError(f"note has {len(text)} letters as JSON: give at most {NOTE_CHARS_MAX}")
    return text


def _hold(dialect: Dialect, name: str) -> Statement:
    return Statement(
        f"INSERT INTO moreton_lock_name (name, at) VALUES (?, {dialect.now}) "
        "ON CONFLICT (name) DO UPDATE SET at = excluded.at",
        (name,),
    )


def _first(name: str) -> Statement:
    return Statement(
        "SELECT owner, place FROM moreton_lock WHERE name = ? AND there = 1 ORDER BY place LIMIT 1",
        (name,),
    )


def _take(dialect: Dialect, name: str, owner: str, note: str) -> Script[Turn]:
    yield [_hold(dialect, name)]
    (fresh,) = yield [
        Statement(
            "INSERT INTO moreton_lock (name, owner, there, note, at) "
            f"VALUES (?, ?, 1, ?, {dialect.now}) ON CONFLICT (name, owner) DO NOTHING RETURNING 1",
            (name, owner, note),
        )
    ]
    ((place, there),), first = yield [
        Statement(
            "SELECT place, there FROM moreton_lock WHERE name = ? AND owner = ?", (name, owner)
        ),
        _first(name),
    ]
    if not there:
        return Turn(name, owner, Place.LEFT)
    ((holder, _),) = first
    if holder == owner:
        return Turn(name, owner, Place.HELD, 0, owner)
    (((ahead,),),) = yield [
        Statement(
            "SELECT count(*) FROM moreton_lock WHERE name = ? AND there = 1 AND place < ?",
            (name, place),
        )
    ]
    if fresh and ahead > QUEUE_MAX:
        raise QueueFull(name=name, count=ahead)
    (circle,) = yield [_circle(name, owner, place)]
    if circle:
        raise CircleOfWaits(name=name, owner=owner)
    return Turn(name, owner, Place.WAITING, ahead, holder)


def _circle(name: str, owner: str, place: int) -> Statement:
    """A row where those before *owner* wait, over others, for what *owner* has or is before in."""
    return Statement(
        "WITH RECURSIVE chain (owner) AS (SELECT owner FROM moreton_lock "
        "WHERE name = ? AND there = 1 AND place < ? UNION "
        "SELECT before.owner FROM chain "
        "JOIN moreton_lock AS waits ON waits.owner = chain.owner AND waits.there = 1 "
        "JOIN moreton_lock AS before ON before.name = waits.name AND before.there = 1 "
        "AND before.place < waits.place) SELECT 1 FROM chain WHERE owner = ?",
        (name, place, owner),
    )


def _leave(dialect: Dialect, name: str, owner: str) -> Script[Waiting | None]:
    yield [_hold(dialect, name)]
    (before,) = yield [_first(name)]
    yield [
        Statement(
            "INSERT INTO moreton_lock (name, owner, there, note, at) "
            f"VALUES (?, ?, 0, 'null', {dialect.now}) "
            "ON CONFLICT (name, owner) DO UPDATE SET there = 0, note = 'null'",
            (name, owner),
        )
    ]
    if not before or before[0][0] != owner:
        return None
    following = yield from _list(dialect, "name = ? AND there = 1", (name,), 1)
    return following[0] if following else None


def _queue(dialect: Dialect, name: str) -> Script[list[Waiting]]:
    return (yield from _list(dialect, "name = ? AND there = 1", (name,), LISTED_MAX))


def _held(dialect: Dialect, longer_than: timedelta) -> Script[list[Waiting]]:
    chosen = (
        f"there = 1 AND at <= {dialect.later} AND NOT EXISTS (SELECT 1 FROM moreton_lock AS other "
        "WHERE other.name = one.name AND other.there = 1 AND other.place < one.place)"
    )
    return (yield from _list(dialect, chosen, (-longer_than.total_seconds(),), LISTED_MAX))


def _list(
    dialect: Dialect, chosen: str, values: tuple[object, ...], limit: int
) -> Script[list[Waiting]]:
    now, at = dialect.epoch.format(dialect.now), dialect.epoch.format("at")
    (rows,) = yield [
        Statement(
            f"SELECT name, owner, note, {now} - {at} FROM moreton_lock AS one "
            f"WHERE {chosen} ORDER BY place LIMIT {limit}",
            values,
        )
    ]
    return [
        Waiting(name, owner, json.loads(note), max(float(seconds), 0.0))
        for name, owner, note, seconds in rows
    ]


def _forget(dialect: Dialect, older_than: timedelta) -> Script[int]:
    (rows,) = yield [
        Statement(
            f"DELETE FROM moreton_lock WHERE there = 0 AND at < {dialect.later} RETURNING 1",
            (-older_than.total_seconds(),),
        )
    ]
    # One that somebody asks about meanwhile is not old any more.
    yield [
        Statement(
            f"DELETE FROM moreton_lock_name WHERE at < {dialect.later} AND NOT EXISTS ("
            "SELECT 1 FROM moreton_lock WHERE moreton_lock.name = moreton_lock_name.name)",
            (-older_than.total_seconds(),),
        )
    ]
    return len(rows)
