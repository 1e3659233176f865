"""`moreton saga`: what sagas did, what they wait for, and what a person decides about them."""

from __future__ import annotations

import typer

from moreton.cli.saga.deciding import compensate, fork, resume, retry, signal, skip
from moreton.cli.saga.looking import list_, show
from moreton.cli.saga.migrating import migrate
from moreton.cli.saga.queues import queues
from moreton.cli.saga.schedules import schedules

__all__ = ["saga"]

_HELP = """See what sagas did, and decide about those that are parked.

The log is at [bold]--at URL[/], or where MORETON_SAGAS says, or sqlite:///sagas.sqlite.

[bold]Examples[/]

  moreton saga list --status parked

  moreton saga show order-7

  moreton saga skip order-7 --note "refunded by hand"
"""

saga = typer.Typer(help=_HELP, no_args_is_help=True, rich_markup_mode="rich")
saga.command("list")(list_)
saga.command("show")(show)
saga.command("retry")(retry)
saga.command("skip")(skip)
saga.command("compensate")(compensate)
saga.command("resume")(resume)
saga.command("fork")(fork)
saga.command("signal")(signal)
saga.command("migrate")(migrate)
saga.add_typer(schedules, name="schedules")
saga.add_typer(queues, name="queues")
