"""`moreton instances maintenance`: nothing is sent to an instance until its maintenance ends."""

from __future__ import annotations

from typing import Annotated

import typer

from moreton.cli.client import DEFAULT_CONFIG, Api, Config
from moreton.cli.leaving.asking import asker, find_instance, path_of
from moreton.cli.output import AsJson, print_json, print_line


def maintenance(
    instance: Annotated[str, typer.Argument(help="The instance's id.")],
    *,
    reason: Annotated[str, typer.Option(help="Why, for those who look at it.")] = "",
    end: Annotated[bool, typer.Option("--end", help="It serves again.")] = False,
    service: Annotated[
        str | None, typer.Option(help="Its service, if others have an instance of that id.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Even the last instance of its service.")
    ] = False,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Take an instance out for as long as someone works on it, or bring it back with --end.

    It stays out when its program is started anew. Its program is not told of it; `moreton drain`
    takes an instance out to stop it.

    [bold]Examples[/]

      moreton instances maintenance catalogue-7f3a --reason "new disk"

      moreton instances maintenance catalogue-7f3a --end
    """
    if not end and not reason:
        raise typer.BadParameter(
            "why is it out? others will ask: say it by --reason, or write --end to bring it back"
        )
    api = Api.find(config)
    found = find_instance(api, instance, service)
    path = f"{path_of(found)}/maintenance"
    if end:
        api.call("DELETE", path)
    else:
        api.call("PUT", path, {"reason": reason, "by": asker(), "force": force})
    state = "serving" if end else "maintenance"
    if as_json:
        print_json({"service": found["service"], "id": instance, "state": state, "reason": reason})
    elif end:
        print_line(f'the maintenance of "{instance}" is over')
    else:
        print_line(f'"{instance}" is in maintenance: nothing new is sent to it')
