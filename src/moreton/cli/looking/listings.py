"""`moreton routes`, `services` and `instances`: what there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from moreton.cli.client import DEFAULT_CONFIG, Api, Config
from moreton.cli.output import AsJson, joined, print_json, print_rows, shares


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


def services(
    name: Annotated[str | None, typer.Argument(help="Only this service.")] = None,
    *,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """List the services: where each answers, whether the proxies know.

    [bold]Examples[/]

      moreton services

      moreton services catalogue --json
    """
    api = Api.find(config)
    found = [api.get(f"/v1/services/{name}")] if name else api.get("/v1/services")
    if as_json:
        print_json(found[0] if name else found)
        return
    headings = ["service", "answers at", "protocol", "status", "defined at"]
    print_rows(headings, map(_service_row, found), empty="no services; add one to moreton.yaml")


def instances(
    service: Annotated[str | None, typer.Argument(help="Only those of this service.")] = None,
    *,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """List the instances that registered and whose lease lives.

    [bold]Examples[/]

      moreton instances

      moreton instances catalogue --json
    """
    api = Api.find(config)
    found = api.get(f"/v1/services/{service}/instances" if service else "/v1/instances")
    if as_json:
        print_json(found)
        return
    rows = [
        [one["service"], one["id"], one["address"], joined(_labels(one))]
        for one in (_flat(instance) for instance in found)
    ]
    empty = "no instances; start one with `moreton run --service NAME --port PORT -- COMMAND`"
    print_rows(["service", "instance", "address", "labels"], rows, empty=empty)


def _route_row(route: Mapping[str, Any]) -> list[str]:
    goes = shares(route["weights"]) if route["weights"] else "(redirect)"
    if route.get("weights_set"):
        goes += " (set)"
    return [route["name"], route["takes"], goes, route["status"]["text"], _place(route)]


def _service_row(service: Mapping[str, Any]) -> list[str]:
    answers = service["addresses"] + [f"{one} (instance)" for one in service["instances"]]
    status = service["status"]["text"]
    shown = answers[:4] + ([f"and {len(answers) - 4} more"] if len(answers) > 4 else [])
    none = "nowhere yet"
    return [service["name"], joined(shown, none=none), service["protocol"], status, _place(service)]


def _place(entry: Mapping[str, Any]) -> str:
    return str(entry["source"]["where"] or "API")


def _flat(instance: Mapping[str, Any]) -> dict[str, Any]:
    address = instance.get("address")
    if isinstance(address, Mapping):
        address = f"{address['host']}:{address['port']}"
    elif "host" in instance and "port" in instance:
        address = f"{instance['host']}:{instance['port']}"
    return {**instance, "address": str(address)}


def _labels(instance: Mapping[str, Any]) -> list[str]:
    labels = instance.get("metadata") or instance.get("labels") or {}
    return [f"{key}={value}" for key, value in sorted(labels.items())]
