"""The command `moreton demo`."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

_STOPPED = 128 + signal.SIGTERM


def demo(
    *,
    stay: Annotated[
        bool, typer.Option("--stay", help="Keep everything running after the story.")
    ] = False,
    short: Annotated[
        bool, typer.Option("--short", help="In half the time: fewer steps, nothing is killed.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where the migration's report goes.", show_default=""),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON document.")] = False,
) -> None:
    """Show Moreton at work: a real shop, one route moved by proof under load.

    Starts django-oscar as the monolith, Moreton in front, and a small catalogue service with a bug
    in it. Copies of requests show the bug; once it is mended, the product pages move in steps. A
    fault at 25 percent is taken back by itself; the second try ends at 100 percent, though the
    service and the control plane are killed on the way. Takes about 90 seconds where two cores have
    nothing else to do, needs no network, leaves nothing behind but a report.

    Exit status: 0 when the story held, 1 when a request failed that must not, or something else
    did not happen.

    [bold]Examples[/]

      moreton demo

      moreton demo --short --report build/demo

      moreton demo --stay
    """
    from moreton.cli.demo.showing import Wanted, show  # noqa: PLC0415 - help needs it not

    async def told() -> int:
        task = asyncio.current_task()
        assert task is not None
        for one in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(one, task.cancel)
        return await show(Wanted(stay=stay, short=short, report=report, as_json=as_json))

    try:
        raise typer.Exit(asyncio.run(told()))
    except asyncio.CancelledError:
        raise typer.Exit(_STOPPED) from None
