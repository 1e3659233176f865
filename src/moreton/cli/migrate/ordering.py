"""Orders about migrations: each is one call, and answered once the proxies have the weights."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from moreton.cli.client import DEFAULT_CONFIG, Api, Config
from moreton.cli.leaving.asking import asker
from moreton.cli.output import AsJson, print_json, print_line

_HELP = """Move a route's requests to a new service in steps that take themselves back.

[bold]Examples[/]

  moreton migrate plan catalogue

  moreton migrate start catalogue

  moreton migrate watch catalogue

  moreton migrate rollback catalogue --because "wrong prices"
"""

migrate = typer.Typer(help=_HELP, no_args_is_help=True, rich_markup_mode="rich")
Migration = Annotated[str, typer.Argument(help="The migration, as under `migrations`.")]
Because = Annotated[str, typer.Option(help="Why, for the history.")]
Force = Annotated[bool, typer.Option("--force", help="Also against what stands in the way.")]


@migrate.command("start")
def start(name: Migration, *, config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Begin with the first stage, by the plan that moreton.yaml has now.

    [bold]Examples[/]

      moreton migrate start catalogue
    """
    _order(name, "start", config, as_json=as_json)


@migrate.command("advance")
def advance(
    name: Migration,
    *,
    because: Because = "",
    force: Force = False,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Let a manual stage go on once its gates pass; with --force, go on now and without proof.

    [bold]Examples[/]

      moreton migrate advance catalogue
    """
    _order(name, "advance", config, because=because, force=force, as_json=as_json)


@migrate.command("pause")
def pause(
    name: Migration,
    *,
    because: Because = "",
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Stay in this stage; a gate that fails still takes it back.

    [bold]Examples[/]

      moreton migrate pause catalogue
    """
    _order(name, "pause", config, because=because, as_json=as_json)


@migrate.command("freeze")
def freeze(
    name: Migration,
    *,
    because: Because = "",
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Stay in this stage whatever happens: nothing goes back by itself either.

    [bold]Examples[/]

      moreton migrate freeze catalogue --because "the orders' table moves"
    """
    _order(name, "freeze", config, because=because, as_json=as_json)


@migrate.command("resume")
def resume(name: Migration, *, config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Go on after a pause or a freeze where it was; after a rollback from the first stage.

    [bold]Examples[/]

      moreton migrate resume catalogue
    """
    _order(name, "resume", config, as_json=as_json)


@migrate.command("rollback")
def rollback(
    name: Migration,
    *,
    because: Because = "",
    force: Force = False,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Send every request to the old service again; past the point of no return only by --force.

    [bold]Examples[/]

      moreton migrate rollback catalogue --because "wrong prices"
    """
    _order(name, "rollback", config, because=because, force=force, as_json=as_json)


@migrate.command("no-return")
def no_return(
    name: Migration,
    *,
    because: Because = "",
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Declare that going back would do harm: from now on a gate that fails freezes.

    [bold]Examples[/]

      moreton migrate no-return catalogue --because "new orders are only there"
    """
    _order(name, "no-return", config, because=because, as_json=as_json)


def sentence(found: dict[str, Any]) -> str:
    """Where a migration is, in a line."""
    stage = found["stage"]
    line = f"{found['name']}: {found['phase']}"
    if found["phase"] in {"running", "paused", "frozen"}:
        line += f", stage {stage['number']} of {len(found['stages'])} ({stage['name']})"
    line += f"; {found['to']} gets {found['share'] * 100:g}% of {found['route']}"
    if found["reason"]:
        line += f"; {found['reason']}"
    if found["waits_for"]:
        line += f"; waits for {', '.join(found['waits_for'])}"
    return line


def _order(
    name: str,
    order: str,
    config: Any,
    *,
    as_json: bool,
    because: str = "",
    force: bool = False,
) -> None:
    body = {"by": asker(), "because": because, "force": force}
    path = f"/v1/migrations/{name}/{order}"
    found = Api.find(config).call("POST", path, body, query={"wait": "applied"})
    if as_json:
        print_json(found)
    else:
        print_line(sentence(found))
