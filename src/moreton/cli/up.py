"""`moreton up`: run the control plane and its Envoy."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from moreton.cli.client import DEFAULT_CONFIG
from moreton.cli.output import print_line

_NODE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def up(
    config: Annotated[
        Path,
        typer.Option("--config", "-c", metavar="PATH", help="The file, or a folder of *.yaml."),
    ] = DEFAULT_CONFIG,
    *,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Where the state is; several nodes share etcd://host:2379/prefix."
        ),
    ] = None,
    node: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="This node's name, if not the machine's."),
    ] = None,
    last_good: Annotated[
        bool,
        typer.Option(
            "--last-good",
            help="Only start Envoy, from what every proxy had applied last, and leave it running.",
        ),
    ] = False,
) -> None:
    """Run Envoy in front of your application, as moreton.yaml says, until stopped.

    Edits of the file are applied while it runs; a bad edit is refused and says why. Ctrl-C or
    SIGTERM finishes open requests and stops everything; SIGHUP leaves Envoy running for the next
    `moreton up` to adopt, and so does a kill -9: no request fails.

    [bold]Examples[/]

      moreton up

      moreton up --config deploy/moreton.yaml

      moreton up --store etcd://10.0.0.5:2379,10.0.0.6:2379 --node a

      moreton up --last-good
    """
    if last_good:
        from moreton.controlplane.life.cold import run_last_good  # noqa: PLC0415 - as below

        pid = run_last_good(config)
        print_line(f"Envoy serves the last good configuration, pid {pid}")
        print_line("`moreton up` takes over from it; without that, `kill` ends it")
        return
    if node is not None and not _NODE.fullmatch(node):
        raise typer.BadParameter(
            f"{node!r} is not a node's name; write up to 63 letters, digits, dots, hyphens and "
            "underscores, like shop-1"
        )
    from moreton.controlplane.life.process import Given, run  # noqa: PLC0415 - only who runs it

    run(config, Given(store, node), debug=os.environ.get("MORETON_DEBUG", "") not in {"", "0"})
