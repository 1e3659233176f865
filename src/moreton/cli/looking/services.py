"""`moreton services`: what is defined, what has registered, and how it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer

from moreton.cli.client import DEFAULT_CONFIG, Api, ApiRefused, Config
from moreton.cli.looking.listings import place
from moreton.cli.output import AsJson, joined, print_json, print_rows

_NOT_FOUND = 404
# The states in the order in which people want to know of them.
_STATES = ("serving", "starting", "draining", "maintenance", "critical")
_ADDRESSES_SHOWN = 4


def services(
    name: Annotated[str | None, typer.Argument(help="Only this service.")] = None,
    *,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """List the services: where each answers, how its instances are, whether the proxies know.

    Those that registered without being in moreton.yaml are there, too: no route can send to them.

    [bold]Examples[/]

      moreton services

      moreton services catalogue --json
    """
    api = Api.find(config)
    found = _one(api, name) if name else _all(api)
    if as_json:
        print_json(found[0] if name else found)
        return
    headings = ["service", "answers at", "protocol", "status", "defined at"]
    print_rows(headings, map(_row, found), empty="no services; add one to moreton.yaml")


def states(instances: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many are in which state, in the order in which people want to know."""
    counts = Counter(str(each["state"]) for each in instances)
    return {state: counts[state] for state in (*_STATES, *counts) if counts[state]}


def counted(found: Mapping[str, int]) -> str:
    """`18 serving, 1 draining`."""
    return joined(f"{count} {state}" for state, count in found.items())


def _all(api: Api) -> list[dict[str, Any]]:
    registered: dict[str, list[dict[str, Any]]] = {}
    for each in api.get("/v1/instances"):
        registered.setdefault(each["service"], []).append(each)
    defined = api.get("/v1/services")
    known = {_registered_as(each) for each in defined}
    return [
        {**each, "states": states(registered.get(_registered_as(each), ()))} for each in defined
    ] + [_undefined(name, registered[name]) for name in sorted(registered) if name not in known]


def _one(api: Api, name: str) -> list[dict[str, Any]]:
    try:
        found = api.get(f"/v1/services/{name}")
    except ApiRefused as error:
        if error.status != _NOT_FOUND:
            raise
        there = api.get(f"/v1/services/{name}/instances")
        if not there:
            raise
        return [_undefined(name, there)]
    registered = _registered_as(found)
    there = api.get("/v1/instances", prefix=registered)
    mine = (each for each in there if each["service"] == registered)
    return [{**found, "states": states(mine)}]


def _registered_as(service: Mapping[str, Any]) -> str:
    """The name that its instances have in the registry: those of its addresses have its own."""
    return str(service["discover"] or service["name"])


def _undefined(name: str, there: list[dict[str, Any]]) -> dict[str, Any]:
    addresses = [f"{each['address']}:{each['port']}" for each in there]
    return {"name": name, "defined": False, "instances": addresses, "states": states(there)}


def _row(service: Mapping[str, Any]) -> list[str]:
    if service.get("defined") is False:
        how = counted(service["states"])
        return [service["name"], how, "", "registered; no route can send to it", "nowhere"]
    addresses = service["addresses"]
    more = len(addresses) - _ADDRESSES_SHOWN
    shown = list(addresses[:_ADDRESSES_SHOWN]) + ([f"and {more} more"] if more > 0 else [])
    there = service["instances"]
    if len(there) == 1:
        shown.append(f"{there[0]} (instance)")
    if service["states"] and (len(there) > 1 or set(service["states"]) != {"serving"}):
        shown.append(f"instances: {counted(service['states'])}")
    status = service["status"]["text"]
    answers = joined(shown, none="nowhere yet")
    return [service["name"], answers, service["protocol"], status, place(service)]
