"""`moreton weights`: move a route's requests between its destinations."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from moreton.cli.client import DEFAULT_CONFIG, Api, Config
from moreton.cli.output import AsJson, print_json, print_line, shares


def weights(
    route: Annotated[str, typer.Argument(help="The route's name.")],
    shares_wanted: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SERVICE=WEIGHT]...", help="All destinations; none: show."),
    ] = None,
    *,
    reset: Annotated[
        bool, typer.Option("--reset", help="Go back to the weights that moreton.yaml has.")
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Do not wait until the proxies have them.")
    ] = False,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Show or set how a route's requests are shared between its destinations.

    Weights count relative to their sum. They are kept, and override moreton.yaml's, until the
    file gives the route other destinations or --reset takes them back.

    [bold]Examples[/]

      moreton weights products

      moreton weights products shop=95 catalogue=5

      moreton weights products --reset
    """
    wanted = _parsed(shares_wanted or [])
    if wanted and reset:
        raise typer.BadParameter("--reset takes no weights; leave out one of the two")
    api = Api.find(config)
    path = f"/v1/routes/{route}/weights"
    query = None if no_wait else {"wait": "applied"}
    if reset:
        answer = api.call("DELETE", path, query=query)
    elif wanted:
        answer = api.call("PUT", path, wanted, query=query)
    else:
        answer = api.get(path)
    if as_json:
        print_json(answer)
    else:
        print_line(_sentence(answer))


def _parsed(words: list[str]) -> dict[str, int]:
    wanted: dict[str, int] = {}
    for word in words:
        service, _, number = word.partition("=")
        if not service or not number.isdigit() or service in wanted:
            raise typer.BadParameter(
                f"{word!r} is not a weight, or is there twice; write SERVICE=WEIGHT with a whole "
                "number, each service once, like: shop=95 catalogue=5"
            )
        wanted[service] = int(number)
    return wanted


def _sentence(answer: dict[str, Any]) -> str:
    origin = "set by the API" if answer["set"] else f"as defined at {answer['where'] or 'the API'}"
    line = f"{answer['route']}: {shares(answer['weights'])} ({origin}); {answer['status']['text']}"
    if answer["set"] and answer["defined"] != answer["weights"]:
        line += f"; defined: {shares(answer['defined'])}"
    return line
