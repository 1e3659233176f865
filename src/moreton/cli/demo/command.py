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
    """Show Moreton at work: a real shop, one route moved under load and taken back.

    Starts django-oscar as the monolith, a small catalogue service, and Moreton in front; moves
    the product pages 0, 5, 25, 100 percent and back; kills the service and the control plane on
    the way. Takes about 80 seconds, needs no network, leaves nothing behind.

    Exit status: 0 when the story held, 1 when a request failed that must not.
    """
    from moreton.cli.demo.showing import show  # noqa: PLC0415 - help needs it not

    raise typer.Exit(asyncio.run(show(stay=stay, as_json=as_json)))
