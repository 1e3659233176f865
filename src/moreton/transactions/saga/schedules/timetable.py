"""Schedules as the log keeps them."""

from __future__ import annotations

from typing import NamedTuple

from moreton.transactions.saga.ledgers.port import Begin, Ledger
from moreton.transactions.saga.schedules.schedule import Schedule


class Entry(NamedTuple):
    """A schedule in the log; moments in microseconds since 1970."""

    name: str
    saga: str
    version: int
    rule: str
    due: int  # when the next one begins
    paused: int
    starts: int  # how many it began
    last: int | None  # the due time of the last one
    last_id: str  # its saga
    note: str  # why the newest due time began none


_COLUMNS = ", ".join(Entry._fields)


class Timetable:
    """The schedules in *ledger*."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def entries(self) -> dict[str, Entry]:
        """All of them by name, also those that no code has any more."""
        with self._ledger.looking() as look:
            rows = look.execute(f"SELECT {_COLUMNS} FROM @saga_schedules ORDER BY name")  # noqa: S608
        return {row[0]: Entry(*row) for row in rows}

    def keep(self, schedule: Schedule, now: int) -> None:
        """Write *schedule* down; when its rule is a new one, its times are counted from *now*."""
        saga = schedule.saga
        with self._ledger.changing("schedule") as change:
            change.execute(
                "INSERT INTO @saga_schedules VALUES (?, ?, ?, ?, ?, 0, 0, NULL, '', '')"
                " ON CONFLICT (name) DO UPDATE SET saga = excluded.saga,"
                " version = excluded.version, rule = excluded.rule,"
                " due = CASE WHEN @saga_schedules.rule = excluded.rule"
                " THEN @saga_schedules.due ELSE excluded.due END",
                schedule.name, saga.name, saga.version, schedule.when.text,
                schedule.when.after(now),
            )  # fmt: skip

    def pass_on(self, entry: Entry, following: int, note: str) -> bool:
        """From *entry* to the due time *following*, beginning none; false if another was first."""
        with self._ledger.changing("schedule") as change:
            moved = change.execute(
                "UPDATE @saga_schedules SET due = ?, note = ?"
                " WHERE name = ? AND due = ? AND rule = ? AND paused = 0 RETURNING name",
                following, note, entry.name, entry.due, entry.rule,
            )  # fmt: skip
        return bool(moved)

    def fire(
        self, entry: Entry, due: int, following: int, begin: Begin, *, overlap: bool
    ) -> str | None:
        """Begin the saga of *due*, and go on to *following*, both or neither.

        Returns "" when it was begun, else why not; `None` when another engine was first.
        """
        with self._ledger.changing("fire") as change:
            moved = change.execute(
                "UPDATE @saga_schedules SET due = ?, note = ''"
                " WHERE name = ? AND due = ? AND rule = ? AND paused = 0 RETURNING last_id",
                following, entry.name, entry.due, entry.rule,
            )  # fmt: skip
            if not moved:
                return None
            (last_id,) = moved[0]
            why = ""
            if not overlap and change.execute(
                "SELECT 1 FROM @sagas WHERE id = ? AND ended IS NULL", last_id
            ):
                why = f"{last_id} has not ended"
                change.execute(
                    "UPDATE @saga_schedules SET note = ? WHERE name = ?",
                    f"{begin.id} was left out: {why}", entry.name,
                )  # fmt: skip
                return why
            change.begin(begin)
            change.execute(
                "UPDATE @saga_schedules SET starts = starts + ?, last = ?, last_id = ?"
                " WHERE name = ?",
                int(not begin.existed), due, begin.id, entry.name,
            )  # fmt: skip
        return ""

    def note(self, name: str, note: str) -> None:
        """Say why the schedule begins nothing at present."""
        with self._ledger.changing("schedule") as change:
            change.execute("UPDATE @saga_schedules SET note = ? WHERE name = ?", note, name)

    def pause(self, name: str, *, paused: bool) -> None:
        """Begin no more, or go on; what came due meanwhile is made up for as after an outage."""
        with self._ledger.changing("schedule") as change:
            change.execute(
                "UPDATE @saga_schedules SET paused = ? WHERE name = ?", int(paused), name
            )

    def hasten(self, name: str, now: int) -> None:
        """Begin the next one at *now*, before its time; its own time is as ever."""
        with self._ledger.changing("schedule") as change:
            change.execute(
                "UPDATE @saga_schedules SET due = ? WHERE name = ? AND due > ?", now, name, now
            )

    def drop(self, name: str) -> None:
        """Forget it; an engine that has it in its code writes it down again when it opens."""
        with self._ledger.changing("schedule") as change:
            change.execute("DELETE FROM @saga_schedules WHERE name = ?", name)
