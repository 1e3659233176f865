"""`moreton rollout`: start the instances of a service anew, one after the other."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Protocol

import typer

from moreton.cli.arguments import duration
from moreton.cli.client import DEFAULT_CONFIG, Api, Config
from moreton.cli.leaving.asking import PATIENCE_SECONDS, asker, patiently, tell
from moreton.cli.output import AsJson, print_json, print_line, print_rows
from moreton.kernel.errors import MoretonError, RetryAdvice
from moreton.kernel.quantities import format_duration

_HELP = """Start the instances of a service anew without a lost request.

For programs under `moreton run`, on whatever machine, and those of `run:` in moreton.yaml.

[bold]Examples[/]

  moreton rollout restart catalogue

  moreton rollout status catalogue --json

  moreton rollout abandon catalogue
"""
_WAIT_SECONDS = 5.0

rollout = typer.Typer(help=_HELP, no_args_is_help=True, rich_markup_mode="rich")
_Service = Annotated[str, typer.Argument(help="The service.")]


class RolloutStopped(MoretonError):
    """An instance did not come back, so that no other was touched."""

    code = "rollout-stopped"
    retry = RetryAdvice.AFTER

    def __init__(self, *, service: str, reason: str, done: int, total: int) -> None:
        super().__init__(
            f"{done} of {total} instances of {service} were started anew, then {reason}: the "
            f"others go on as they were; repair it and go on with `moreton rollout restart "
            f"{service}` (--force takes even the last one), or end it with `moreton rollout "
            f"abandon {service}`"
        )


@rollout.command("restart")
def restart(
    service: _Service,
    *,
    batch: Annotated[
        int, typer.Option(min=1, max=1000, help="How many at a time, if others serve meanwhile.")
    ] = 1,
    timeout: Annotated[
        str, typer.Option(help="How long one may take from its drain until it serves.")
    ] = "2m",
    force: Annotated[
        bool, typer.Option("--force", help="Even the last instance that serves.")
    ] = False,
    anew: Annotated[
        bool, typer.Option("--anew", help="From the first one, even if one can be gone on with.")
    ] = False,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Drain an instance, start it anew, wait until it serves, then the next; stop at a failure.

    The same command goes on with what was stopped or interrupted. Ctrl-C leaves the one that is
    under way to come back by itself. The control plane may be started again meanwhile.

    [bold]Examples[/]

      moreton rollout restart catalogue

      moreton rollout restart catalogue --batch 3 --timeout 5m
    """
    limit = format_duration(duration("--timeout", timeout))
    api = Api.find(config)
    path = f"/v1/services/{service}/rollout"
    body = {"by": asker(), "batch": batch, "limit": limit, "force": force, "anew": anew}
    found: dict[str, Any] = api.call("POST", path, body)
    if found["done"]:
        tell(f"going on: {found['done']} of {found['total']} were started anew before")
    try:
        found = _drive(api, path, found)
    except KeyboardInterrupt:
        tell(
            f"paused: what is being started anew goes on by itself; go on with "
            f"`moreton rollout restart {service}`"
        )
        raise
    if as_json:
        print_json(found)
    if found["state"] != "done":
        reason = found["reason"] or f"it was {found['state']}"
        raise RolloutStopped(
            service=service, reason=reason, done=found["done"], total=found["total"]
        )
    if not as_json:
        print_line(f"all {found['total']} instances of {service} were started anew and serve")


@rollout.command("status")
def status(service: _Service, *, config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show the latest rollout of a service, instance by instance.

    [bold]Examples[/]

      moreton rollout status catalogue
    """
    found = Api.find(config).get(f"/v1/services/{service}/rollout")
    if as_json:
        print_json(found)
        return
    reason = f": {found['reason']}" if found["reason"] else ""
    print_line(f"{found['state']}, {found['done']} of {found['total']}, by {found['by']}{reason}")
    rows = [[each["id"], each["stage"], each["detail"]] for each in found["instances"]]
    print_rows(["instance", "stage", "detail"], rows, empty="")


@rollout.command("abandon")
def abandon(service: _Service, *, config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """End a rollout where it is; what is being started anew comes back by itself.

    [bold]Examples[/]

      moreton rollout abandon catalogue
    """
    Api.find(config).call("DELETE", f"/v1/services/{service}/rollout")
    if as_json:
        print_json({"service": service, "state": "abandoned"})
    else:
        print_line(f"the rollout of {service} is over")


def _drive(api: Api, path: str, found: dict[str, Any]) -> dict[str, Any]:
    """Have done what is next until nothing is, and show how far it is."""
    query = {"wait": f"{_WAIT_SECONDS:g}"}
    with _bar(found["service"], found["total"]) as bar:
        while found["state"] == "running":
            found = patiently(
                lambda: api.call("POST", f"{path}/advance", query=query), bar.say, PATIENCE_SECONDS
            )
            bar.show(found)
    return found


class _Bar(Protocol):
    def show(self, found: Mapping[str, Any]) -> None: ...

    def say(self, text: str) -> None: ...


class _Lines:
    """For a log: a line whenever another instance came back."""

    def __init__(self) -> None:
        self._done: set[str] = set()

    def show(self, found: Mapping[str, Any]) -> None:
        for each in found["instances"]:
            if each["stage"] == "done" and each["id"] not in self._done:
                self._done.add(each["id"])
                tell(f"{each['id']} serves again, {len(self._done)} of {found['total']}")

    def say(self, text: str) -> None:
        tell(text)


@contextmanager
def _bar(service: str, total: int) -> Iterator[_Bar]:
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console  # noqa: PLC0415 - 0.1 s that only a terminal pays
    from rich.progress import Progress  # noqa: PLC0415 - as above

    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(service, total=total)

        class Bar:
            def show(self, found: Mapping[str, Any]) -> None:
                busy = [x for x in found["instances"] if x["stage"] == "restarting"]
                shown = ", ".join(f"{each['id']} {each['detail']}" for each in busy[:3])
                progress.update(
                    task,
                    completed=found["done"],
                    total=found["total"],
                    description=shown or service,
                )

            def say(self, text: str) -> None:
                progress.console.print(text, markup=False)

        yield Bar()
