"""`moreton indoubt`: transactions that are prepared or decided, and not yet ended."""

from __future__ import annotations

import typer

from moreton.cli.indoubt.asking import list_, resolve

__all__ = ["indoubt"]

_HELP = """Look at transactions in doubt, and end them.

[bold]Examples[/]

  moreton indoubt list --log sqlite:///decisions.db --participant stock=sqlite:///stock.db

  moreton indoubt resolve --log … --participant … [dim]# all that the log has decided[/]

  moreton indoubt resolve GID --rollback --log … --participant …
"""

indoubt = typer.Typer(help=_HELP, no_args_is_help=True, rich_markup_mode="rich")
indoubt.command("list")(list_)
indoubt.command("resolve")(resolve)
