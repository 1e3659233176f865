"""Which schedules are due, and their sagas' beginning."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from moreton.transactions.saga.codec import plain
from moreton.transactions.saga.definition import Saga
from moreton.transactions.saga.ledgers.port import Begin, Ledger
from moreton.transactions.saga.queues.queue import Queue
from moreton.transactions.saga.schedules.rules import Rule, stamp, utc
from moreton.transactions.saga.schedules.schedule import Schedule
from moreton.transactions.saga.schedules.timetable import Entry, Timetable

_log = logging.getLogger("moreton.transactions.saga")
# A calendar that goes back by less is waited for; by more, times are counted anew.
_BACK_MICROS_MAX = 3_600_000_000
# So many of one schedule at a time, that others and the engine's other duties have their turn.
_FIRED_MAX = 100
_LOOK_SECONDS = 1.0

Prepare = Callable[[Saga, object, str, int, Queue | None], Begin]


class Verdict(NamedTuple):
    """What is to be done about a schedule: begin *fire*, if any, then wait for *following*."""

    fire: int | None
    following: int


def verdict(rule: Rule, due: int, now: int, *, catch_up: int, grace: int) -> Verdict:
    """What a schedule whose next time is *due* does at *now*; all in microseconds."""
    if due > rule.after(now + _BACK_MICROS_MAX):  # the calendar was ahead when that was written
        return Verdict(None, rule.after(now))
    if due > now:
        return Verdict(None, due)
    if rule.after(due - 1) != due:  # a person asked for it
        return Verdict(due, rule.after(due))
    newest = rule.latest(now, due, max(1, catch_up))
    count = max(catch_up, int(now - newest[-1] <= grace))
    if not count:
        return Verdict(None, rule.after(now))
    first = newest[-count:][0]
    return Verdict(first, rule.after(first))


class Timekeeper:
    """Begins what is due of *schedules*; *prepare* makes a saga that is not yet written."""

    def __init__(self, ledger: Ledger, schedules: Sequence[Schedule], prepare: Prepare) -> None:
        self._ledger, self._schedules, self._prepare = ledger, schedules, prepare
        _check_names(schedules)
        self._table = Timetable(ledger)
        self._at = 0.0
        self._troubles: dict[str, str] = {}
        now = ledger.now_nanos() // 1000
        for schedule in schedules:
            self._table.keep(schedule, now)

    def look(self) -> bool:
        """Begin what is due, if it is time to look; whether anything was begun."""
        if not self._schedules or time.monotonic() < self._at:
            return False
        entries, now = self._table.entries(), self._ledger.now_nanos() // 1000
        fired, left = False, _LOOK_SECONDS
        for schedule in self._schedules:
            entry = entries.get(schedule.name)
            # One that was dropped, is paused, or has another rule in a newer engine, is not ours.
            if entry is None or entry.paused or entry.rule != schedule.when.text:
                continue
            due, some = self._follow(schedule, entry, now)
            fired = fired or some
            left = min(left, max(0, due - now) / 1e6)
        self._at = time.monotonic() + left
        return fired

    def _follow(self, schedule: Schedule, entry: Entry, now: int) -> tuple[int, bool]:
        """Bring *entry* up to *now*: when it is due next, and whether anything was begun."""
        fired = False
        grace = round(schedule.grace.total_seconds() * 1e6)
        for _ in range(_FIRED_MAX):
            found = verdict(schedule.when, entry.due, now, catch_up=schedule.catch_up, grace=grace)
            if found.following == entry.due:
                break
            if found.fire is None:
                self._pass_on(entry, found.following, now)
            else:
                done = self._fire(schedule, entry, found.fire, found.following)
                if done is None:
                    return now + round(_LOOK_SECONDS * 1e6), fired
                fired = fired or done
            entry = entry._replace(due=found.following)
        return entry.due, fired

    def _pass_on(self, entry: Entry, following: int, now: int) -> None:
        if entry.due > now:
            note = f"the calendar was set back from before {stamp(entry.due)}"
        else:
            note = f"what was due from {stamp(entry.due)} on was left out: no engine ran"
        if self._table.pass_on(entry, following, note):
            _log.warning("schedule %s: %s", entry.name, note)

    def _fire(self, schedule: Schedule, entry: Entry, due: int, following: int) -> bool | None:
        """Whether its saga was begun; `None` when that has to be tried again."""
        try:
            value = schedule.input
            if callable(value):
                value = value(utc(due))
            saga_id = f"{schedule.name}@{stamp(due)}"
            begin = self._prepare(schedule.saga, value, saga_id, schedule.priority, schedule.queue)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's function, or no room at present
            said = f"{type(error).__name__}: {plain(str(error))}"
            note = f"cannot begin that of {stamp(due)}, {said}"
            if self._troubles.get(schedule.name) != note:
                self._troubles[schedule.name] = note
                _log.warning("schedule %s: %s; it is tried again", schedule.name, note)
                self._table.note(schedule.name, note)
            return None
        self._troubles.pop(schedule.name, None)
        why = self._table.fire(entry, due, following, begin, overlap=schedule.overlap)
        if why:
            _log.info("schedule %s: %s was left out: %s", schedule.name, saga_id, why)
        return why == ""


def _check_names(schedules: Sequence[Schedule]) -> None:
    names = [schedule.name for schedule in schedules]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f'two schedules are called "{twice[0]}": they would begin the same ids; give one '
            "another name"
        )
