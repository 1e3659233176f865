"""What commands print: a table for people, or one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from rich.console import Console

AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead of a table.")
]

_STYLES = {
    "applied": "green",
    "healthy": "green",
    "ok": "green",
    "pending": "yellow",
    "warning": "yellow",
    "rejected": "red",
    "refused": "red",
    "fault": "red",
    "unhealthy": "red",
}


def print_json(document: object) -> None:
    """*document* as one JSON document on standard output."""
    print(json.dumps(document, indent=2, ensure_ascii=False))  # noqa: T201 - a command's answer


def print_line(text: str) -> None:
    """*text* on standard output, as it is."""
    print(text)  # noqa: T201 - a command's answer


def print_rows(headings: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """A table on standard output; the sentence *empty* when there are no rows."""
    listed = list(rows)
    if not listed:
        print_line(empty)
        return
    from rich.table import Table  # noqa: PLC0415 - 0.1 s that `--json` need not pay

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in listed:
        table.add_row(*map(_cell, row))
    console().print(table)


def console() -> Console:
    """Standard output, as wide as the terminal; without one, wide enough not to break words."""
    from rich.console import Console  # noqa: PLC0415 - as above

    width = None if sys.stdout.isatty() else 200
    return Console(width=width, highlight=False)


def _cell(text: str) -> Any:
    from rich.text import Text  # noqa: PLC0415 - as above

    first = text.split(" ", 1)[0].rstrip(":,")
    return Text(text, style=_STYLES.get(first, ""))


def joined(values: Iterable[str], *, none: str = "") -> str:
    """`a, b, c`, or *none*."""
    return ", ".join(values) or none


def shares(weights: Mapping[str, int]) -> str:
    """`shop 90, catalogue 10`, or the one name alone."""
    if len(weights) == 1:
        return next(iter(weights))
    return ", ".join(f"{service} {weight}" for service, weight in weights.items())
