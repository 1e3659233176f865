"""The entry: finds the command and imports only what it needs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer

from moreton.cli.exits import guarded

# name -> (module, function, arguments pass through unparsed, panel of the help)
_COMMANDS = {
    "init": ("moreton.cli.init", "init", "Begin"),
    "check": ("moreton.cli.check", "check", "Begin"),
    "schema": ("moreton.cli.check", "schema", "Begin"),
    "doctor": ("moreton.cli.doctor", "doctor", "Begin"),
    "demo": ("moreton.cli.demo.command", "demo", "Begin"),
    "up": ("moreton.cli.up", "up", "Run"),
    "run": ("moreton.cli.run", "run", "Run"),
    "cluster": ("moreton.cli.cluster", "cluster", "Run"),
    "outbox": ("moreton.cli.outbox", "outbox", "Run"),
    "drain": ("moreton.cli.leaving.drain", "drain", "Move"),
    "rollout": ("moreton.cli.leaving.rollout", "rollout", "Move"),
    "weights": ("moreton.cli.weights", "weights", "Move"),
    "compare": ("moreton.cli.compare", "compare", "Move"),
    "migrate": ("moreton.cli.migrate", "migrate", "Move"),
    "saga": ("moreton.cli.saga", "saga", "Look"),
    "ring": ("moreton.cli.ring", "ring", "Look"),
    "history": ("moreton.cli.history", "history", "Look"),
    "indoubt": ("moreton.cli.indoubt", "indoubt", "Look"),
    "status": ("moreton.cli.looking.status", "status", "Look"),
    "explain": ("moreton.cli.looking.explain", "explain", "Look"),
    "routes": ("moreton.cli.looking.listings", "routes", "Look"),
    "services": ("moreton.cli.looking.services", "services", "Look"),
    "instances": ("moreton.cli.looking.instances", "instances", "Look"),
    "limits": ("moreton.cli.limits", "limits", "Look"),
    "watch": ("moreton.cli.looking.events", "watch", "Look"),
    "events": ("moreton.cli.looking.events", "events", "Look"),
}


def main() -> None:
    """Run the command line of this process, then exit."""
    arguments = sys.argv[1:]
    sys.exit(guarded(lambda: application(arguments)(args=arguments, prog_name="moreton")))


def application(arguments: Sequence[str]) -> typer.Typer:
    """The command that *arguments* name; all of them when they name none (help, a typo)."""
    named = next((word for word in arguments if not word.startswith("-")), None)
    if named in _COMMANDS:
        return _build([named])
    return _build([] if "--version" in arguments else _COMMANDS)


def _build(names: Iterable[str]) -> typer.Typer:
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in names:
        module, function, panel = _COMMANDS[name]
        command = getattr(importlib.import_module(module), function)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, rich_help_panel=panel)
            continue
        settings = getattr(command, "context_settings", None)
        app.command(name, rich_help_panel=panel, context_settings=settings)(command)
    return app


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the value
    if wanted:
        from moreton import __version__  # noqa: PLC0415 - reads the package's metadata

        typer.echo(f"moreton {__version__}")
        raise typer.Exit


def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """Grow microservices around a running Python monolith, route by route, and run them."""


if __name__ == "__main__":
    main()
