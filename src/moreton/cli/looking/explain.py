"""`moreton explain`: where a request goes, and why not elsewhere."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from moreton.cli.arguments import header_pair
from moreton.cli.client import DEFAULT_CONFIG, Api, Config
from moreton.cli.exits import Exit
from moreton.cli.looking.policies import explain_policy
from moreton.cli.output import AsJson, print_json, print_line, shares
from moreton.controlplane.errors import NotRunning


def explain(
    method: Annotated[str | None, typer.Argument(help="GET, POST, …")] = None,
    url: Annotated[
        str | None, typer.Argument(help="http://host/path?query, or /path alone.")
    ] = None,
    *,
    policy: Annotated[
        str | None, typer.Option("--policy", help="Explain a policy of moreton.yaml instead.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="`name: value`; repeatable.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask moreton.yaml, not the running control plane.")
    ] = False,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Say which route takes a request, and for each near miss the condition that lost.

    Asks the running control plane; when none runs, the file. No request is sent. Exit status 1
    when no route takes it.

    [bold]Examples[/]

      moreton explain GET http://shop.example/catalogue/7

      moreton explain POST /orders -H "x-beta: 1"

      moreton explain --policy careful
    """
    if policy is not None:
        explain_policy(policy, config, as_json=as_json)
        return
    if method is None or url is None:
        raise typer.BadParameter("give a method and a URL, or --policy NAME")
    headers = header or []
    found = None if offline else _ask(config, method, url, headers)
    if found is None:
        found = _read(config, method, url, headers)
    if as_json:
        print_json(found)
    else:
        _say(found)
    if found["winner"] is None:
        raise typer.Exit(Exit.NO)


def _ask(config: Any, method: str, url: str, headers: list[str]) -> Any:
    try:
        api = Api.find(config, waits=False)
    except NotRunning:
        return None
    return api.get("/v1/explain", method=method, url=url, header=headers)


def _read(config: Any, method: str, url: str, headers: list[str]) -> Any:
    from moreton.controlplane.assembly.explaining import explanation  # noqa: PLC0415 - pydantic
    from moreton.controlplane.settings import load_settings  # noqa: PLC0415 - as above

    pairs = dict(map(header_pair, headers))
    settings = load_settings(config)
    try:
        return explanation(settings.routes.values(), settings, method.upper(), url, pairs)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _say(found: dict[str, Any]) -> None:
    winner = found["winner"]
    if winner is None:
        print_line("no route takes it: the gateway answers 404")
    else:
        goes = shares(winner["weights"]) if winner["weights"] else f"redirect {winner['redirect']}"
        print_line(f"{winner['name']}: {winner['takes']} -> {goes} ({_place(winner)})")
    for miss in found["near_misses"]:
        print_line(f"  not {miss['name']} ({miss['takes']}, {_place(miss)}): {miss['lost_by']}")


def _place(route: dict[str, Any]) -> str:
    return str(route["where"] or "API")
