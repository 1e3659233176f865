"""`moreton limits list` and `top`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from moreton.cli.client import DEFAULT_CONFIG, Api, Config
from moreton.cli.limits.asking import running, settings_of
from moreton.cli.output import AsJson, console, joined, print_json, print_rows

_HEADINGS = ["limit", "lets pass", "of", "counted by", "then", "mode", "kept", "defined at"]


def list_limits(
    *,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask moreton.yaml, not the running control plane.")
    ] = False,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """List the limits: how much passes, of what, counted by what, and what happens to the rest.

    Asks the running control plane; when none runs, the file.

    [bold]Examples[/]

      moreton limits list

      moreton limits list --json
    """
    api = running(config, offline=offline)
    found = api.get("/v1/limits") if api is not None else _read(config)
    if as_json:
        print_json(found)
        return
    print_rows(_HEADINGS, map(_row, found), empty="no limits; add one to moreton.yaml")


def top(
    *,
    rule: Annotated[str | None, typer.Option(help="Only of this limit.")] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=50, help="How many.")] = 10,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Show who asks most, for each limit: a view that goes on, until interrupted.

    Services tell of it once they call `report_limits()`. Printed once where no terminal is.

    [bold]Examples[/]

      moreton limits top

      moreton limits top --rule login --json
    """
    query = {"limit": str(count), **({"rule": rule} if rule is not None else {})}
    api = Api.find(config)
    if as_json:
        print_json(api.get("/v1/limits/top", **query))
        return
    from moreton.cli.looking.talkers import watch_talkers  # noqa: PLC0415 - `--json` needs it not

    watch_talkers(lambda: api.get("/v1/limits/top", **query), console())


def _read(config: Any) -> Any:
    from moreton.controlplane.limits.documents import limits_document  # noqa: PLC0415 - pydantic

    return limits_document(settings_of(config))


def _row(one: Mapping[str, Any]) -> list[str]:
    tiers = [f"{tier} {limit}" for tier, limit in one["tiers"].items()]
    passes = joined([one["limit"], *tiers])
    what = one["match"] + (f", except {one['except']}" if one["except"] else "")
    mode = one["mode"] if one["percent"] == "100%" else f"{one['mode']} {one['percent']}"
    by = joined(one["by"], none="everyone together")
    return [
        one["name"],
        passes,
        what if one["count"] == "requests" else f"connections, {what}",
        by,
        one["verdict"],
        mode,
        f"{one['at']}, {one['scope']}",
        one["where"],
    ]
