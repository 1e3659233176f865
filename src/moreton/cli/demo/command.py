"""The command `moreton demo`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer


def demo(
    *,
    stay: Annotated[
        bool, typer.Option("--stay", help="Keep everything running after the story.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON document.")] = False,
) -> None:
    """Show Moreton at work: a real shop, one route moved by proof under load.

    Starts django-oscar as the monolith, Moreton in front, and a small catalogue service with a bug
    in it. Copies of requests show the bug; once it is mended, the product pages move in steps. A
    fault at 25 percent is taken back by itself; the second try ends at 100 percent, though the
    service and the control plane are killed on the way. Takes about 90 seconds where two cores have
    nothing else to do, needs no network, leaves nothing behind.

    Exit status: 0 when the story held, 1 when a request failed that must not, or something else
    did not happen.
    """
    from moreton.cli.demo.showing import show  # noqa: PLC0415 - help needs it not

    raise typer.Exit(asyncio.run(show(stay=stay, as_json=as_json)))
