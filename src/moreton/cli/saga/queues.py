"""`moreton saga queues`: how many wait in each, and a hand on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from moreton.cli.output import AsJson, print_json, print_line, print_rows
from moreton.cli.saga.log import DEFAULT_AT, At, opened

if TYPE_CHECKING:
    from moreton.transactions.saga.queues.table import Entry

Name: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="The queue's name.")]

queues = typer.Typer(help="List the queues that sagas begin by, pause one, or go on.")


@queues.callback(invoke_without_command=True)
def list_(context: typer.Context, *, at: At = DEFAULT_AT, as_json: AsJson = False) -> None:
    """List the queues that sagas begin by, pause one, or go on."""
    if context.invoked_subcommand is not None:
        return
    from moreton.transactions.saga.queues.table import QueueTable  # noqa: PLC0415 - for help

    with opened(at) as ledger:
        entries = list(QueueTable(ledger).entries().values())
    if as_json:
        print_json([_document(entry) for entry in entries])
        return
    rows = [
        (entry.name, _bound(entry.at_once), _bound(entry.per_engine), entry.rate or "any",
         f"{entry.running:,}", f"{entry.waiting:,}", "paused" if entry.paused else "ok")
        for entry in entries
    ]  # fmt: skip
    headings = ("NAME", "AT ONCE", "PER ENGINE", "RATE", "RUNNING", "WAITING", "STATE")
    print_rows(headings, rows, empty="no queues")


@queues.command()
def pause(name: Name, *, at: At = DEFAULT_AT, as_json: AsJson = False) -> None:
    """Take no more sagas from a queue until `continue`; what is under way comes to its end."""
    _pause(name, at, paused=True, as_json=as_json)


@queues.command("continue")
def continue_(name: Name, *, at: At = DEFAULT_AT, as_json: AsJson = False) -> None:
    """Take sagas from a queue again."""
    _pause(name, at, paused=False, as_json=as_json)


def _pause(name: str, at: str, *, paused: bool, as_json: bool) -> None:
    from moreton.transactions.saga.errors import QueueUnknown  # noqa: PLC0415 - for help
    from moreton.transactions.saga.queues.table import QueueTable  # noqa: PLC0415 - as above

    with opened(at) as ledger:
        table = QueueTable(ledger)
        known = table.entries()
        if name not in known:
            raise QueueUnknown(queue=name, known=list(known), where=ledger.where)
        table.pause(name, paused=paused)
    if as_json:
        print_json({"queue": name, "paused": paused})
    else:
        print_line(f"{name}: {'paused' if paused else 'goes on'}")


def _bound(limit: int | None) -> str:
    return "any" if limit is None else f"{limit:,}"


def _document(entry: Entry) -> dict[str, object]:
    return {
        "name": entry.name, "at_once": entry.at_once, "per_engine": entry.per_engine,
        "rate": entry.rate or None, "running": entry.running, "waiting": entry.waiting,
        "paused": bool(entry.paused),
    }  # fmt: skip
