"""From a checked `moreton.yaml` and from the API's documents to objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moreton.config import ConfigRefused, Fault
from moreton.controlplane.core.clashes import ClashIndex
from moreton.controlplane.core.desired import Desired, services_of
from moreton.controlplane.core.objects import Definition, Kind, ObjectKey, Origin, Value
from moreton.controlplane.settings import Settings, parse_route, parse_service
from moreton.gateway.core.limits import kept_by_proxies
from moreton.gateway.core.model import Route
from moreton.ratelimit.rls.core.facts import is_asked_for


def definitions(settings: Settings) -> dict[ObjectKey, Definition]:
    """What *settings* define, with their places."""
    rules = settings.limits.rules.items()
    kept = {name: one for name, one in rules if kept_by_proxies(one) or is_asked_for(one)}
    sections: tuple[tuple[Kind, str, Mapping[str, Value]], ...] = (
        (Kind.GATEWAY, "gateways", settings.gateways),
        (Kind.SERVICE, "services", settings.services),
        (Kind.ROUTE, "routes", settings.routes),
        (Kind.LIMIT, "limits", kept),
    )
    return {
        ObjectKey(kind, name): Definition(
            value, Origin.FILE, str(settings.where(section, name) or "")
        )
        for kind, section, values in sections
        for name, value in values.items()
    }


def parse_object(key: ObjectKey, document: Mapping[str, Any]) -> Value:
    """An object of the API from the *document* that was put. Raises `ConfigRefused`."""
    if key.kind is Kind.ROUTE:
        return parse_route(key.name, document)
    return parse_service(key.name, document)


def clash_sentence(route: Route, others: list[str], desired: Desired) -> str:
    """Why *route* cannot be put beside *others*; empty without any."""
    if not others:
        return ""
    named = ", ".join(
        f'"{name}" ({place(ObjectKey(Kind.ROUTE, name), desired)})' for name in others
    )
    return (
        f'route "{route.name}" matches the same requests as {named} with equal rank: '
        "not published; make one more specific, or remove one"
    )


def place(key: ObjectKey, desired: Desired) -> str:
    """Where *key* is defined: its file:line:column, or the API."""
    definition = desired.definition(key)
    return (definition.where if definition else "") or "put by the API"


def check_beside_api(settings: Settings, desired: Desired) -> None:
    """Whether *settings* leave the API's objects in force. Raises `ConfigRefused` if not.

    An edit that would break an object of the API is as bad as one that is wrong by itself.
    """
    file = definitions(settings)
    index = ClashIndex()
    for route in settings.routes.values():
        index.put(route)
    faults = []
    for key in desired.keys(Kind.ROUTE):
        value = desired.weighted(key)
        if key in file or not isinstance(value, Route) or not desired.is_of_api(key):
            continue
        for service in services_of(value):
            wanted = ObjectKey(Kind.SERVICE, service)
            if wanted not in file and not desired.is_of_api(wanted) and not desired.problem(key):
                what = f'service "{service}" is gone, and route "{key.name}" of the API sends to it'
                todo = f"define it again, or `DELETE /v1/routes/{key.name}` first"
                faults.append(Fault(what, todo))
        for other in index.clashing(value):
            what = f'routes "{other}" and "{key.name}" of the API match the same requests'
            where = settings.where("routes", other)
            faults.append(Fault(what, "make one more specific, or remove one", where))
    if faults:
        raise ConfigRefused(faults)
