"""`moreton cluster`: three or five nodes that keep the store together."""

from __future__ import annotations

import typer

from moreton.cli.cluster.changing import leave, transfer
from moreton.cli.cluster.looking import status
from moreton.cli.cluster.making import init, join, restore
from moreton.cli.cluster.running import run
from moreton.cli.cluster.saving import snapshot

__all__ = ["cluster"]

_HELP = """Keep the store on three or five nodes that outlive each other.

A node is a folder: `init` makes the first one, `join` the others, and `run` runs one, or
`moreton up` does whose store is raft:///FOLDER. More than half of the voters must run; three
bear the loss of one, five of two.

[bold]Examples[/]

  moreton cluster init node1 --address 10.0.0.1:7500

  moreton cluster run node1

  moreton cluster join node2 --address 10.0.0.2:7500 --member 10.0.0.1:7500 --secret-file secret

  moreton cluster status node1 --json
"""

cluster = typer.Typer(help=_HELP, no_args_is_help=True, rich_markup_mode="rich")
for command in (init, join, run, status, transfer, leave, snapshot, restore):
    cluster.command(command.__name__)(command)
