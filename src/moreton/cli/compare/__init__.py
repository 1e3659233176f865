"""`moreton compare`: what is compared of live traffic, and the collector that does it."""

from __future__ import annotations

import typer

from moreton.cli.compare.serve import serve
from moreton.cli.compare.status import status

__all__ = ["compare"]

_HELP = """Compare a new service's answers with those that users get.

[bold]Examples[/]

  moreton compare status

  moreton compare serve
"""

compare = typer.Typer(help=_HELP, no_args_is_help=True, rich_markup_mode="rich")
compare.command("serve")(serve)
compare.command("status")(status)
