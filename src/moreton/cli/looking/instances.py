"""`moreton instances`: who registered, who registered it, and why it is out if it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
import typer.core

from moreton.cli.client import DEFAULT_CONFIG, Api, Config
from moreton.cli.leaving.maintenance import maintenance
from moreton.cli.looking.services import counted, states
from moreton.cli.output import AsJson, joined, print_json, print_line, print_rows

# More than this is no reading: filters help.
_SHOWN_MAX = 200
_HELP = """List the instances, or take one out for maintenance.

[bold]Examples[/]

  moreton instances

  moreton instances catalogue --state critical --state draining

  moreton instances --zone a --source run --json

  moreton instances maintenance catalogue-7f3a --reason "new disk"
"""
_OUT_FIRST = {"critical": 0, "maintenance": 1, "draining": 2, "starting": 3}


class _ListedFirst(typer.core.TyperGroup):
    """A group whose first command is meant when none is named: `moreton instances catalogue`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in the name of the first command where there is none."""
        if not (args and (args[0] in self.commands or args[0] in ctx.help_option_names)):
            args = ["list", *args]
        return list(super().parse_args(ctx, args))


instances = typer.Typer(
    cls=_ListedFirst,
    help=_HELP,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@instances.command("list")
def listed(
    service: Annotated[str | None, typer.Argument(help="Only those of this service.")] = None,
    *,
    state: Annotated[
        list[str] | None, typer.Option(help="Only those that are so; may be repeated.")
    ] = None,
    zone: Annotated[str | None, typer.Option(help="Only those of this zone.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Only those registered by sdk, run, yaml, http, …")
    ] = None,
    version: Annotated[str | None, typer.Option(help="Only those of this version.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="Only those with this tag; may be repeated.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="How many are shown; those that are out come first.")
    ] = _SHOWN_MAX,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """List the instances that registered: who registered each, and why it is out if it is.

    This is what `moreton instances` does without a further word.

    [bold]Examples[/]

      moreton instances

      moreton instances catalogue --state critical --json
    """
    wanted = {"zone": zone, "source": source, "version": version}
    api = Api.find(config)
    there = api.get(f"/v1/services/{service}/instances" if service else "/v1/instances")
    found = [
        each
        for each in there
        if all(each.get(key) == value for key, value in wanted.items() if value is not None)
        and (not state or each["state"] in state)
        and set(tag or ()) <= set(each["tags"])
    ]
    if as_json:
        print_json(found)
        return
    empty = "no instances; start one with `moreton run --service NAME --port PORT -- COMMAND`"
    if there and not found:
        empty = f"none of {len(there)} instances is like that"
    found.sort(key=lambda x: (x["service"], _OUT_FIRST.get(x["state"], 9), x["id"]))
    headings = ["service", "instance", "address", "zone", "weight", "state", "by", "heard", "notes"]
    now = datetime.now(UTC)
    print_rows(headings, (_row(each, now) for each in found[:limit]), empty=empty)
    for line in _summary(found, limit):
        print_line(line)


instances.command("maintenance")(maintenance)


def _row(instance: Mapping[str, Any], now: datetime) -> Sequence[str]:
    return [
        instance["service"],
        instance["id"],
        address(instance),
        instance["zone"],
        str(instance["weight"]),
        instance["state"],
        instance.get("source", ""),
        ago(instance.get("last_heartbeat"), now),
        joined(_notes(instance)),
    ]


def _notes(instance: Mapping[str, Any]) -> Iterator[str]:
    """Why it is out, what its checks say, and what tells it from others."""
    if instance.get("reason"):
        yield instance["reason"]
    if instance.get("ejected"):
        yield "the proxy lets it rest for its failures"
    for check in (instance.get("health") or {}).get("checks", ()):
        yield f"{check['id']} {check['status']}"
    if instance["version"]:
        yield f"version {instance['version']}"
    yield from instance["tags"]
    yield from (f"{key}={value}" for key, value in sorted(instance["metadata"].items()))


def _summary(found: Sequence[Mapping[str, Any]], limit: int) -> Iterator[str]:
    if len(found) > limit:
        more = len(found) - limit
        yield f"and {more} more; name a service, filter by --state, --zone, --source, or --limit"
    if len(found) > 1:
        yield f"{len(found)} instances: {counted(states(found))}"


def address(instance: Mapping[str, Any]) -> str:
    """`address:port`, with an IPv6 address in brackets."""
    host = instance["address"]
    return f"[{host}]:{instance['port']}" if ":" in host else f"{host}:{instance['port']}"


def ago(moment: str | None, now: datetime) -> str:
    """How long ago, for people; empty when nobody knows."""
    if moment is None:
        return ""
    seconds = (now - datetime.fromisoformat(moment)).total_seconds()
    if seconds < 1:
        return "now"
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit} ago"
    return f"{seconds:.0f}s ago"
