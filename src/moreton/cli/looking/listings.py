"""`moreton routes`: what there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from moreton.cli.client import DEFAULT_CONFIG, Api, Config
from moreton.cli.output import AsJson, print_json, print_rows, shares


def routes(
    name: Annotated[str | None, typer.Argument(help="Only this route.")] = None,
    *,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """List the routes: what each takes, where it goes, whether the proxies have it.

    [bold]Examples[/]

      moreton routes

      moreton routes products --json
    """
    api = Api.find(config)
    found = [api.get(f"/v1/routes/{name}")] if name else api.get("/v1/routes")
    if as_json:
        print_json(found[0] if name else found)
        return
    headings = ["route", "takes", "goes to", "status", "defined at"]
    print_rows(headings, map(_route_row, found), empty="no routes; add one to moreton.yaml")


def _route_row(route: Mapping[str, Any]) -> list[str]:
    goes = shares(route["weights"]) if route["weights"] else "(redirect)"
    if route.get("weights_set"):
        goes += " (set)"
    return [route["name"], route["takes"], goes, route["status"]["text"], place(route)]


def place(entry: Mapping[str, Any]) -> str:
    """Where it is defined."""
    return str(entry["source"]["where"] or "API")
