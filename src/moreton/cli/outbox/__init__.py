"""`moreton outbox`: events on their way, the relay, dead letters."""

from __future__ import annotations

import typer

from moreton.cli.outbox.dead import dead
from moreton.cli.outbox.moving import relay, resend, schema, skip_lost, status

__all__ = ["outbox"]

_HELP = """Events on their way from one service to others.

[bold]Examples[/]

  moreton outbox relay orders --database postgresql:///orders --broker nats://localhost

  moreton outbox status --database postgresql:///orders

  moreton outbox dead list --database postgresql:///payments
"""

outbox = typer.Typer(help=_HELP, no_args_is_help=True, rich_markup_mode="rich")
outbox.command("relay")(relay)
outbox.command("status")(status)
outbox.command("resend")(resend)
outbox.command("skip-lost")(skip_lost)
outbox.command("schema")(schema)
outbox.add_typer(dead, name="dead")
