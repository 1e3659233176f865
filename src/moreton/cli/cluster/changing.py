"""`moreton cluster leave` and `transfer`: who belongs to it, and who leads."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from moreton.cli.cluster.settings import Folder
from moreton.cli.output import AsJson, print_json, print_line
from moreton.store.raft import operating


def leave(
    folder: Folder,
    *,
    node: Annotated[
        int | None, typer.Option(metavar="N", help="Which node, if not that of the folder.")
    ] = None,
    at_any_risk: Annotated[
        bool,
        typer.Option("--at-any-risk", help="Even if too few of the others can be reached."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove a node from its cluster for good, whether it runs or is lost.

    Its number is never given again: to come back it joins as a new node, in an empty folder. A
    leader hands over first. The last voter cannot leave, nor one without which the others could
    not decide.

    [bold]Examples[/]

      moreton cluster leave node3

      moreton cluster leave node1 --node 3
    """
    operator = operating.Operator(folder)
    gone = operator.who.node if node is None else node
    asyncio.run(operator.dismiss(gone, at_any_risk=at_any_risk))
    if as_json:
        print_json({"cluster": operator.who.cluster, "left": gone})
        return
    print_line(f"node {gone} does not belong to the cluster {operator.who.cluster} any more")
    print_line("stop it if it runs; its folder can be deleted")


def transfer(
    folder: Folder,
    *,
    to: Annotated[int, typer.Option(metavar="N", help="The node that shall lead.")],
    as_json: AsJson = False,
) -> None:
    """Let another node lead, without an election timeout: before its machine is stopped, say.

    [bold]Examples[/]

      moreton cluster transfer node1 --to 2
    """
    operator = operating.Operator(folder)
    asyncio.run(operator.ask("transfer", node=to))
    if as_json:
        print_json({"cluster": operator.who.cluster, "leader": to})
    else:
        print_line(f"node {to} leads")
