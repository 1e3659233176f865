"""`moreton migrate report`: what moved, what was found, what went wrong, what proves it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from moreton.cli.arguments import write_file
from moreton.cli.client import DEFAULT_CONFIG, Api, Config
from moreton.cli.migrate.ordering import Migration
from moreton.cli.output import print_line


class Format(StrEnum):
    """How a report is written."""

    MD = "md"
    HTML = "html"
    JSON = "json"


_BY_ENDING = {".md": Format.MD, ".html": Format.HTML, ".htm": Format.HTML, ".json": Format.JSON}


def report(
    name: Migration,
    *,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="Default: by --out's ending, else md.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it there instead of printing it.")
    ] = None,
    config: Config = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Write a report of a migration: also while it goes on, which it then says.

    A page (html) stands alone. Beside Markdown that is written to a file lies its picture.

    [bold]Examples[/]

      moreton migrate report catalogue

      moreton migrate report catalogue --out report.html
    """
    wanted = form or (Format.JSON if as_json else None) or _by_ending(out)
    api, path = Api.find(config), f"/v1/migrations/{name}/report"

    def told(as_: str) -> str:
        return api.text("GET", path, query={"format": as_}).decode()

    text = told(wanted)
    if out is None:
        print_line(text.rstrip("\n"))
        return
    if wanted is Format.MD and (picture := told("svg")):
        beside = out.with_suffix(".svg")
        write_file("--out", beside, picture)
        title, rest = text.split("\n", 1)
        text = f"{title}\n\n![{name} over time]({beside.name})\n{rest}"
    write_file("--out", out, text)
    print_line(f"written: {out}")


def _by_ending(out: Path | None) -> Format:
    if out is None:
        return Format.MD
    found = _BY_ENDING.get(out.suffix.lower())
    if found is None:
        raise typer.BadParameter(
            f"{out.name!r} does not say what to write; end it in .md, .html or .json, or give "
            "--format",
            param_hint="--out",
        )
    return found
