"""Sagas that begin by the calendar: at times like those of cron, or every so often.

Use it for what has to happen whoever is there: a report every night, a look every minute. Not for a
wait inside a saga (that is a `Pause`).

Guarantees: each due time begins one saga, however many engines have the schedule, are killed or
come back; its id is the schedule's name and the time, `nightly@2026-11-27T03:00:00Z`; what came due
while no engine ran is left out or made up for, as the schedule says; a calendar that is set back
begins nothing twice, and one that was set years ahead by mistake stops nothing::

    NIGHTLY = Schedule("nightly", REPORT, Cron("0 3 * * *", zone="Europe/Berlin"), catch_up=7)
    with Sagas("sqlite:///sagas.sqlite", schedules=[NIGHTLY]) as sagas:
        ...
"""

from moreton.transactions.saga.schedules.cron import Cron
from moreton.transactions.saga.schedules.rules import Every
from moreton.transactions.saga.schedules.schedule import Schedule

__all__ = ["Cron", "Every", "Schedule"]
