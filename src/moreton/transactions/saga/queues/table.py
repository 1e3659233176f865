"""Queues as the log keeps them, and the taking of sagas from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from moreton.transactions.saga.ledgers.port import COLUMNS, Change, Ledger, SagaRow
from moreton.transactions.saga.queues.queue import Queue


class Entry(NamedTuple):
    """A queue in the log; `running` have a place, `waiting` do not yet."""

    name: str
    at_once: int | None
    per_engine: int | None
    starts: int | None
    period: int
    paused: int
    running: int
    waiting: int

    @property
    def rate(self) -> str:
        """Its rate as people write it, or ""."""
        if self.starts is None:
            return ""
        for unit, micros in _UNITS.items():
            if self.period % micros == 0:
                times = self.period // micros
                return f"{self.starts}/{times if times > 1 else ''}{unit}"
        return f"{self.starts}/{self.period}us"


class Room(NamedTuple):
    """How many more a queue lets in; `None` where it has no such limit."""

    at_once: int | None
    per_engine: int | None
    starts: int | None
    ready: bool  # whether any waits
    again: bool  # whether any does that was begun before
    ahead: bool  # whether any began at a time that is to come

    def places(self, most: int) -> int:
        """How many may be taken, of which those that were not begun count against the rate."""
        limits = [most]
        limits += [limit for limit in (self.at_once, self.per_engine) if limit is not None]
        return max(0, min(limits))

    def begins(self, most: int) -> int:
        """How many of *most* may be such as were not begun yet."""
        return most if self.starts is None else max(0, min(most, self.starts))


_UNITS = {"d": 86_400_000_000, "h": 3_600_000_000, "min": 60_000_000, "s": 1_000_000, "ms": 1000}
# That the queue has a name is said to the planner, whose indexes hold nothing else.
_RUNNING = (
    "SELECT count(*) FROM @sagas s WHERE s.queue = q.name AND s.queue <> ''"
    " AND s.status = 'running' AND s.due > 0"
)
_WAITING = "FROM @sagas s WHERE s.queue = q.name AND s.queue <> '' AND s.due = 0"
_STARTS = "FROM @saga_queue_starts e WHERE e.queue = q.name AND e.at > ?"
_ENTRIES = (
    "SELECT q.name, q.at_once, q.per_engine, q.starts, q.period, q.paused,"  # noqa: S608 - our own
    f" ({_RUNNING}), (SELECT count(*) {_WAITING}) FROM @saga_queues q ORDER BY q.name"
)
_ROOM = (
    f"SELECT q.at_once - ({_RUNNING}), q.per_engine - ({_RUNNING} AND s.owner = ?),"  # noqa: S608
    f" q.starts - (SELECT count(*) {_STARTS} - q.period), EXISTS (SELECT 1 {_WAITING}),"
    f" EXISTS (SELECT 1 {_WAITING} AND s.epoch > 1), EXISTS (SELECT 1 {_STARTS})"
    " FROM @saga_queues q WHERE q.name = ? AND q.paused = 0"
)
_TAKE = (
    "UPDATE @sagas SET due = ?, epoch = epoch + 1, status = 'running',"  # noqa: S608 - our own words
    " takeovers = takeovers + CASE WHEN owner IS NULL THEN 0 ELSE 1 END, owner = ?"
    " WHERE number IN (SELECT number FROM @sagas WHERE due = 0 AND queue = ?"
    " AND queue <> '' AND epoch {which} AND ({known})"
    " ORDER BY priority DESC, number LIMIT ?{skipping})"
    f" RETURNING {COLUMNS}"
)


class QueueTable:
    """The queues in *ledger*."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def entries(self) -> dict[str, Entry]:
        """All of them by name, also those that no code has any more."""
        with self._ledger.looking() as look:
            return {row[0]: Entry(*row) for row in look.execute(_ENTRIES)}

    def keep(self, queue: Queue, *, replace: bool) -> None:
        """Write *queue* down; with *replace* its limits hold in place of those that are there."""
        clause = "NOTHING"
        if replace:
            clause = "UPDATE SET at_once = excluded.at_once, per_engine = excluded.per_engine,"
            clause += " starts = excluded.starts, period = excluded.period"
        with self._ledger.changing("queue") as change:
            change.execute(
                "INSERT INTO @saga_queues VALUES (?, ?, ?, ?, ?, 0)"  # noqa: S608 - one of two
                f" ON CONFLICT (name) DO {clause}",
                queue.name, queue.at_once, queue.per_engine, queue.starts, queue.period_micros,
            )  # fmt: skip

    def pause(self, name: str, *, paused: bool) -> None:
        """Take no more from it, or go on; what is under way comes to its end."""
        with self._ledger.changing("queue") as change:
            change.execute("UPDATE @saga_queues SET paused = ? WHERE name = ?", int(paused), name)

    def take(
        self, name: str, owner: str, known: Sequence[tuple[str, int]], most: int, now: int
    ) -> tuple[list[SagaRow], bool]:
        """Up to *most* sagas of the queue under a lease, and whether others wait in it.

        Engines take from one queue after each other, so that together they keep its limits.
        """
        with self._ledger.looking() as look:
            room = _room(look, name, owner, look.now(now))
        if room is None or not room.ready:
            return [], False
        if not room.places(most) or not (room.again or room.ahead or room.begins(1)):
            return [], True
        with self._ledger.changing("take") as change:
            change.execute(
                f"SELECT 1 FROM @saga_queues WHERE name = ?{change.locking}",  # noqa: S608
                name,
            )
            now = change.now(now)
            # A calendar that was set back must not keep the queue shut until it is there again.
            change.execute(
                "UPDATE @saga_queue_starts SET at = ? WHERE queue = ? AND at > ?", now, name, now
            )
            room = _room(change, name, owner, now)
            if room is None:
                return [], False
            places, due = room.places(most), now + self._ledger.lease_micros
            again = _taken(change, "> 1", (due, owner, name), known, places * room.again)
            begins = room.begins(places - len(again))
            new = _taken(change, "= 1", (due, owner, name), known, begins)
            if room.starts is not None:
                _note_starts(change, name, [row.number for row in new], now)
        return sorted([*again, *new], key=lambda row: (-row.priority, row.number)), True


def _taken(
    change: Change, which: str, values: tuple[int, str, str], known: Sequence[tuple[str, int]],
    most: int,
) -> list[SagaRow]:  # fmt: skip
    if not most:
        return []
    names = " OR ".join(["(name = ? AND version = ?)"] * len(known))
    text = _TAKE.format(which=which, known=names, skipping=change.skipping)
    flat = [value for one in known for value in one]
    return [SagaRow(*row) for row in change.execute(text, *values, *flat, most)]


def _room(change: Change, name: str, owner: str, now: int) -> Room | None:
    rows = change.execute(_ROOM, owner, now, now, name)
    return Room(*rows[0]) if rows else None


def _note_starts(change: Change, name: str, numbers: Sequence[int], now: int) -> None:
    for number in numbers:
        change.execute("INSERT INTO @saga_queue_starts VALUES (?, ?, ?)", name, now, number)
    change.execute(
        "DELETE FROM @saga_queue_starts WHERE queue = ? AND at <= ? - (SELECT period"
        " FROM @saga_queues WHERE name = ?)",
        name, now, name,
    )  # fmt: skip
