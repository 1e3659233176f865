"""`moreton cluster snapshot`: everything the cluster keeps, in a file."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from moreton.cli.cluster.settings import Folder
from moreton.cli.output import AsJson, print_json, print_line
from moreton.store.raft import operating


def snapshot(
    folder: Folder,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Made; never overwritten.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Save everything that the cluster keeps, as of now, to a file with a checksum.

    It sees every write that was answered before. Nothing stops meanwhile. `restore` makes a new
    cluster of it.

    [bold]Examples[/]

      moreton cluster snapshot node1 monday.snapshot
    """
    saved = asyncio.run(_save(operating.Operator(folder), file))
    if as_json:
        print_json({"file": str(file), **asdict(saved)})
        return
    print_line(
        f"{file}: revision {saved.revision}, {saved.keys} keys, {saved.leases} leases, "
        f"{saved.size} bytes, sha256 {saved.sha256}"
    )


async def _save(operator: operating.Operator, file: Path) -> operating.Backup:
    from rich.console import Console  # noqa: PLC0415 - only a command that takes long needs it
    from rich.progress import Progress  # noqa: PLC0415 - as above

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("saving", total=None)
        return await operator.save(
            file, lambda done, total: progress.update(task, completed=done, total=total)
        )
