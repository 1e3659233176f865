"""`moreton up`: run the control plane and its Envoy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from moreton.cli.client import DEFAULT_CONFIG


def up(
    config: Annotated[
        Path,
        typer.Option("--config", "-c", metavar="PATH", help="The file, or a folder of *.yaml."),
    ] = DEFAULT_CONFIG,
) -> None:
    """Run Envoy in front of your application, as moreton.yaml says, until stopped.

    Edits of the file are applied while it runs; a bad edit is refused and says why. Ctrl-C or
    SIGTERM finishes open requests and stops everything; SIGHUP leaves Envoy running for the next
    `moreton up` to adopt, and so does a kill -9: no request fails.

    [bold]Examples[/]

      moreton up

      moreton up --config deploy/moreton.yaml
    """
    from moreton.controlplane.life.up import run  # noqa: PLC0415 - only who runs it loads it

    run(config, debug=os.environ.get("MORETON_DEBUG", "") not in {"", "0"})
