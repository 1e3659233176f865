"""`moreton history`: whether what clients saw was as if one thing had happened at a time."""

from __future__ import annotations

import typer

from moreton.cli.history.check import check

__all__ = ["history"]

_HELP = """Judge recorded histories of clients.

[bold]Examples[/]

  moreton history check run.jsonl

  moreton history check run.jsonl --model cas-register --json
"""

history = typer.Typer(help=_HELP, no_args_is_help=True, rich_markup_mode="rich")


@history.callback()
def _group() -> None:
    """Keep `check` a command of its own while it is the only one."""


history.command("check")(check)
