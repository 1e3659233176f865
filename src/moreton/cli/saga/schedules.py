"""`moreton saga schedules`: what begins by the calendar, and a hand on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from moreton.cli.output import AsJson, print_json, print_line, print_rows
from moreton.cli.saga.log import DEFAULT_AT, At, moment, opened

if TYPE_CHECKING:
    from collections.abc import Callable

    from moreton.transactions.saga.ledgers.port import Ledger
    from moreton.transactions.saga.schedules.timetable import Entry, Timetable

Name: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]

schedules = typer.Typer(help="List what begins by the calendar, pause it, or begin it now.")


@schedules.callback(invoke_without_command=True)
def list_(context: typer.Context, *, at: At = DEFAULT_AT, as_json: AsJson = False) -> None:
    """List what begins by the calendar, pause it, or begin it now."""
    if context.invoked_subcommand is not None:
        return
    from moreton.transactions.saga.schedules.timetable import Timetable  # noqa: PLC0415 - for help

    with opened(at) as ledger:
        entries, now = list(Timetable(ledger).entries().values()), ledger.now_nanos() // 1000
    if as_json:
        print_json([_document(entry, now) for entry in entries])
        return
    rows = [
        (entry.name, f"{entry.saga} version {entry.version}", entry.rule, moment(entry.due),
         entry.last_id or "none yet", f"{entry.starts:,}", _state(entry, now))
        for entry in entries
    ]  # fmt: skip
    headings = ("NAME", "SAGA", "WHEN", "NEXT", "LAST", "BEGUN", "STATE")
    print_rows(headings, rows, empty="no schedules")


@schedules.command()
def pause(name: Name, *, at: At = DEFAULT_AT, as_json: AsJson = False) -> None:
    """Begin no more by a schedule until `continue`."""
    _change(name, at, "paused", lambda table, _: table.pause(name, paused=True), as_json=as_json)


@schedules.command("continue")
def continue_(name: Name, *, at: At = DEFAULT_AT, as_json: AsJson = False) -> None:
    """Go on by a schedule; what came due meanwhile is as if no engine had run."""
    _change(name, at, "goes on", lambda table, _: table.pause(name, paused=False), as_json=as_json)


@schedules.command()
def now(name: Name, *, at: At = DEFAULT_AT, as_json: AsJson = False) -> None:
    """Begin one now, besides those at their times; an engine that has the schedule does it."""

    def hasten(table: Timetable, ledger: Ledger) -> None:
        table.hasten(name, ledger.now_nanos() // 1000)

    _change(name, at, "begins one now", hasten, as_json=as_json)


@schedules.command()
def remove(name: Name, *, at: At = DEFAULT_AT, as_json: AsJson = False) -> None:
    """Forget a schedule that no code has any more; its sagas stay."""
    _change(name, at, "removed", lambda table, _: table.drop(name), as_json=as_json)


def _change(
    name: str, at: str, what: str, act: Callable[[Timetable, Ledger], None], *, as_json: bool
) -> None:
    from moreton.transactions.saga.errors import ScheduleUnknown  # noqa: PLC0415 - for help
    from moreton.transactions.saga.schedules.timetable import Timetable  # noqa: PLC0415 - as above

    with opened(at) as ledger:
        table = Timetable(ledger)
        known = table.entries()
        if name not in known:
            raise ScheduleUnknown(schedule=name, known=list(known), where=ledger.where)
        act(table, ledger)
    if as_json:
        print_json({"schedule": name, "state": what})
    else:
        print_line(f"{name}: {what}")


def _state(entry: Entry, now: int) -> str:
    if entry.paused:
        return "paused"
    late = now - entry.due > _LATE_MICROS
    return entry.note or ("late: does an engine have it?" if late else "ok")


def _document(entry: Entry, now: int) -> dict[str, object]:
    return {
        "name": entry.name, "saga": entry.saga, "version": entry.version, "when": entry.rule,
        "next": moment(entry.due), "last": entry.last_id or None, "begun": entry.starts,
        "paused": bool(entry.paused), "state": _state(entry, now),
    }  # fmt: skip


# An engine looks every second.
_LATE_MICROS = 10_000_000
