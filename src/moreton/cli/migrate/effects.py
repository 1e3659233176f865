"""Looking at which routes of the application write: what its agent saw."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moreton.cli.output import AsJson, print_json, print_line, print_rows
from moreton.kernel.errors import MoretonError

if TYPE_CHECKING:
    from moreton.strangler.agent import Endpoint, Seen

_DEFAULT_FILE = Path(".moreton/effects.sqlite")
_SHOWN_MAX = 4
File = Annotated[
    Path, typer.Option("--file", help="Where the agent keeps it.", envvar="MORETON_EFFECTS")
]


class NoEvidence(MoretonError):
    """There is no file of evidence, or it does not know the endpoint."""

    code = "no-evidence"


def effects(
    endpoint: Annotated[str, typer.Argument(help="One endpoint, with examples.")] = "",
    *,
    file: File = _DEFAULT_FILE,
    seen_min: Annotated[int, typer.Option(min=1, help="Fewer requests say nothing.")] = 100,
    forget: Annotated[bool, typer.Option("--forget", help="Begin anew with ENDPOINT.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show which routes of the application write, by what its agent saw; needs nothing running.

    [bold]Examples[/]

      moreton migrate effects

      moreton migrate effects "GET /catalogue/" --json

      moreton migrate effects "GET /catalogue/" --forget
    """
    from moreton.strangler.agent import Effects  # noqa: PLC0415 - help needs it not

    if not file.exists():
        raise NoEvidence(
            f"there is no {file}: nothing is known of what the application's requests do, and none "
            "is copied; put the agent into the application, or name its file with --file"
        )
    kept = Effects(file)
    if forget:
        if not endpoint or not kept.forget(endpoint):
            raise NoEvidence(
                f'nothing is known of "{endpoint}": nothing to forget; `moreton migrate effects` '
                "lists what is"
            )
        print_line(f"{endpoint} is unknown again")
        return
    found = [one for one in kept.endpoints() if endpoint in {"", one.name}]
    if as_json:
        unwatched = kept.unwatched()
        print_json({"endpoints": [_document(one, seen_min) for one in found], "unseen": unwatched})
        return
    print_rows(
        ["endpoint", "standing", "seen", "wrote", "what it does"],
        [
            [one.name, one.standing(seen_min), str(one.seen), str(one.wrote), _what(one)]
            for one in found
        ],
        empty="no request was seen yet",
    )
    if endpoint:
        for one in found:
            print_rows(["effect", "requests", "example"], map(_row, one.effects), empty="none")
    for module in kept.unwatched():
        print_line(f"{module} is loaded, and what it does is not seen")


def _what(endpoint: Endpoint) -> str:
    named = [_near(str(one.effect)) for one in endpoint.effects if not one.harmless]
    more = len(named) - _SHOWN_MAX
    return ", ".join(named[:_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")


def _row(seen: Seen) -> list[str]:
    because = f" (harmless: {seen.harmless})" if seen.harmless else ""
    return [f"{_near(str(seen.effect))}{because}", str(seen.count), _near(seen.example)]


def _near(text: str) -> str:
    """*text* with files below the current directory as they are called from there."""
    from moreton.strangler.agent.core.effects import general  # noqa: PLC0415 - help needs it not

    here = f"{Path.cwd()}/"
    for folder in (here, general(here)):
        if folder != "/":
            text = re.sub(rf"(?<!\S){re.escape(folder)}(?=.)", "", text)
    return text


def _document(endpoint: Endpoint, seen_min: int) -> dict[str, Any]:
    return {
        "endpoint": endpoint.name,
        "standing": endpoint.standing(seen_min),
        "seen": endpoint.seen,
        "wrote": endpoint.wrote,
        "release": endpoint.release,
        "first_seen": endpoint.first_seen.isoformat(),
        "last_seen": endpoint.last_seen.isoformat(),
        "effects": [
            {
                "kind": one.effect.kind,
                "what": one.effect.what,
                "requests": one.count,
                "harmless": one.harmless,
                "example": one.example,
            }
            for one in endpoint.effects
        ],
    }
