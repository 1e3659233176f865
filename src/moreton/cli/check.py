"""`moreton check` and `moreton schema`: need nothing running."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moreton.cli.arguments import write_file
from moreton.cli.client import DEFAULT_CONFIG
from moreton.cli.exits import Exit
from moreton.cli.output import AsJson, print_json, print_line

if TYPE_CHECKING:
    from moreton.config import Fault


def check(
    config: Annotated[Path, typer.Argument(help="The file, or a folder of *.yaml.")] = (
        DEFAULT_CONFIG
    ),
    *,
    option: Annotated[Path | None, typer.Option("--config", "-c", hidden=True)] = None,
    as_json: AsJson = False,
) -> None:
    """Check moreton.yaml: every fault at once, each with file, line, column and what to do.

    Needs nothing running. Exit status 3 when there is a fault.

    [bold]Examples[/]

      moreton check

      moreton check deploy/moreton.yaml --json
    """
    from moreton.config import ConfigRefused  # noqa: PLC0415 - help needs it not
    from moreton.controlplane.checks import notes_of  # noqa: PLC0415 - as above
    from moreton.controlplane.settings import load_settings  # noqa: PLC0415 - as above
    from moreton.ratelimit.config import notes_of as notes_of_limits  # noqa: PLC0415 - as above

    config = option or config  # as `moreton up` takes it
    try:
        settings = load_settings(config)
    except ConfigRefused as refused:
        if not as_json:
            raise
        print_json({"valid": False, "faults": [_document(fault) for fault in refused.faults]})
        raise typer.Exit(Exit.CONFIGURATION) from refused
    counts = {
        "gateways": len(settings.gateways),
        "services": len(settings.services),
        "routes": len(settings.routes),
    }
    limits = settings.limits
    if limits.rules:
        counts["limits"] = len(limits.rules)
    notes = notes_of(settings.gateways, settings.routes) + notes_of_limits(limits)
    if as_json:
        print_json({"valid": True, "faults": [], "notes": notes, **counts})
        return
    found = ", ".join(
        f"{count} {what.removesuffix('s') if count == 1 else what}"
        for what, count in counts.items()
    )
    print_line(f"{config}: {found}; no faults")
    for note in notes:
        print_line(f"note: {note}")


def schema(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write it there instead of printing it.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Print the JSON Schema of moreton.yaml, for editors.

    [bold]Examples[/]

      moreton schema --output moreton.schema.json

    and as the first line of moreton.yaml:

      # yaml-language-server: $schema=moreton.schema.json
    """
    from moreton.controlplane.settings import settings_schema  # noqa: PLC0415 - as above

    del as_json  # it is JSON either way
    if output is None:
        print_json(settings_schema())
        return
    import json  # noqa: PLC0415 - only here

    write_file("--output", output, json.dumps(settings_schema(), indent=2) + "\n")
    print_line(f"written to {output}")


def _document(fault: Fault) -> dict[str, object]:
    where = fault.where
    return {
        "what": fault.what,
        "prevents": fault.prevents,
        "todo": fault.todo,
        "file": None if where is None else where.file,
        "line": None if where is None else where.line,
        "column": None if where is None else where.column,
        "text": str(fault),
    }
