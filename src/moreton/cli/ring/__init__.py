"""`moreton ring`: watch a ring elect its leader, and hold its cost against the theory."""

from __future__ import annotations

import typer

from moreton.cli.ring.plot import plot
from moreton.cli.ring.run import run

__all__ = ["ring"]

_HELP = """Elect a leader on a ring, simulated or of real processes; plot what it costs.

[bold]Examples[/]

  moreton ring run --algorithm lcr --nodes 7 --watch

  moreton ring run --nodes 7 --processes --kill 2 --json

  moreton ring plot --svg messages.svg
"""

ring = typer.Typer(help=_HELP, no_args_is_help=True, rich_markup_mode="rich")
ring.command("run")(run)
ring.command("plot")(plot)
