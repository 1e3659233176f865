"""`moreton limits`: what holds, who asks most, why, who is banned; and limits served."""

from __future__ import annotations

import typer

from moreton.cli.limits.banning import ban, bans, reset, unban
from moreton.cli.limits.explaining import explain
from moreton.cli.limits.listing import list_limits, top
from moreton.cli.limits.serve import serve
from moreton.cli.limits.simulating import simulate

__all__ = ["limits"]

_HELP = """Look at limits, try them on a log, ban and unban; serve them to Envoys that ask.

[bold]Examples[/]

  moreton limits list

  moreton limits simulate access.log --config proposed.yaml

  moreton limits ban 192.0.2.7 --for 1h

  moreton limits serve ratelimit/config --listen 127.0.0.1:8081
"""

limits = typer.Typer(help=_HELP, no_args_is_help=True, rich_markup_mode="rich")
limits.command("list")(list_limits)
limits.command("top")(top)
limits.command("explain")(explain)
limits.command("simulate")(simulate)
limits.command("bans")(bans)
limits.command("ban")(ban)
limits.command("unban")(unban)
limits.command("reset")(reset)
limits.command("serve")(serve)
