"""`moreton limits`: rate limits, served and looked at."""

from __future__ import annotations

import typer

from moreton.cli.limits.serve import serve

__all__ = ["limits"]

_HELP = """Serve rate limits to Envoys that ask for each request.

[bold]Examples[/]

  moreton limits serve ratelimit/config --listen 127.0.0.1:8081

  moreton limits serve ratelimit/config --store redis://127.0.0.1:6379/0 --processes 2
"""

limits = typer.Typer(help=_HELP, no_args_is_help=True, rich_markup_mode="rich")
limits.callback()(lambda: None)  # a group, also while it has one command
limits.command("serve")(serve)
