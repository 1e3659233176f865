"""`moreton compare status`: what is compared, and what came of it."""

from __future__ import annotations

from pathlib import Path

from moreton.cli.client import DEFAULT_CONFIG, Api, Config, differences_file
from moreton.cli.output import AsJson, print_json, print_line, print_rows


def status(*, config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show which share of which routes is compared, or why none is, and how many differ.

    [bold]Examples[/]

      moreton compare status
    """
    found = Api.find(config).get("/v1/comparisons")
    if as_json:
        print_json(found)
        return
    rows = [
        [
            each["route"],
            each["candidate"],
            f"{each['share'] * 100:g}%",
            *(str(each["counts"][key]) for key in _COUNTS),
            each["trouble"],
        ]
        for each in found
    ]
    print_rows(["route", "candidate", "share", *_COUNTS, ""], rows, empty="nothing is compared")
    if any(each["counts"]["undecided"] for each in found):
        for line in _undecided(differences_file(config)):
            print_line(line)


def _undecided(file: Path) -> list[str]:
    """What is still undecided of what this node compared."""
    from moreton.strangler.compare import Differences  # noqa: PLC0415 - help needs it not
    from moreton.strangler.compare.undecided import told_undecided  # noqa: PLC0415 - as above

    if not file.exists():
        return []
    with Differences(file) as kept:
        return told_undecided(kept)


_COUNTS = ("compared", "different", "undecided", "unanswered", "dropped", "skipped")
