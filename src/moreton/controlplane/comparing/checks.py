"""What the shape of the section `compare` cannot show, and what it means for routes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec

from moreton.config import Fault, Location
from moreton.controlplane.checks import meant
from moreton.envoy.core.copies import KEY_VARIABLE
from moreton.gateway.core.model import Copies, Protocol, Route, Service
from moreton.strangler.compare.config import CompareModel
from moreton.strangler.compare.core.live import Live, SideEffects

Where = Callable[..., Location | None]
_PREVENTS = "nothing of it is compared"


def comparisons_of(
    models: Mapping[str, CompareModel], routes: Mapping[str, Route]
) -> Mapping[str, Live]:
    """The values of *models*, by route."""

    def services(route: str) -> list[str]:
        return [to.service for to in routes[route].to] if route in routes else []

    return {name: model.as_value(name, services(name)) for name, model in models.items()}


def with_copies(
    routes: Mapping[str, Route], comparisons: Mapping[str, Live]
) -> Mapping[str, Route]:
    """*routes*, those that are compared with what may be copied of them."""
    return {name: replace(r, copies=_copies(comparisons.get(name))) for name, r in routes.items()}


def check_comparisons(
    comparisons: Mapping[str, Live],
    routes: Mapping[str, Route],
    services: Mapping[str, Service],
    where: Where,
) -> Iterator[Fault]:
    """Routes and services that no one defines, or that cannot be compared."""
    for name, live in comparisons.items():
        place = where("compare", name)
        route = routes.get(name)
        if route is None:
            what = f"compare {name!r} is of a route of that name, which no one defines"
            todo = f"define it, or {meant(name, routes, 'remove the comparison')}"
            yield Fault(what, todo, place, _PREVENTS)
            continue
        if not route.to:
            what = f"compare {name!r} is of a route that sends to no service"
            yield Fault(what, "remove the comparison", place, _PREVENTS)
            continue
        yield from _check_sides(live, route, services, where)
    for name, live in comparisons.items():
        if live.dry_run and not os.environ.get(KEY_VARIABLE):
            what = f"compare {name!r} wants dry runs, and {KEY_VARIABLE} is not set"
            todo = "set it to the same secret here and where the application and the candidate run"
            yield Fault(what, todo, where("compare", name, "dry_run"), "no write is compared")
    if comparisons and not all(map(find_spec, ("brotli", "lxml", "msgspec"))):
        what = "answers are to be compared, and what reads their bodies is not installed"
        yield Fault(what, "install moreton[compare]", where("compare"), _PREVENTS)


def _check_sides(
    live: Live, route: Route, services: Mapping[str, Service], where: Where
) -> Iterator[Fault]:
    name = live.route
    if not live.primary:
        what = f"compare {name!r} does not say whose answers are right, and the route has a choice"
        yield Fault(what, "name that service in `primary`", where("compare", name), _PREVENTS)
    elif live.primary not in {to.service for to in route.to}:
        what = f"compare {name!r} has the primary {live.primary!r}, to which the route never sends"
        found = ", ".join(to.service for to in route.to)
        todo = f"name one that answers users: {found}"
        yield Fault(what, todo, where("compare", name, "primary"), _PREVENTS)
    for key, service in (("candidate", live.candidate), ("primary", live.primary)):
        found_service = services.get(service)
        place = where("compare", name, key)
        if service and found_service is None:
            if service in {to.service for to in route.to}:
                continue  # it is told of the route
            what = f"compare {name!r} asks the service {service!r}, which no one defines"
            todo = f"define it, or {meant(service, services, 'remove the comparison')}"
            yield Fault(what, todo, place, _PREVENTS)
        elif found_service is not None and found_service.protocol is not Protocol.HTTP1:
            what = f"compare {name!r} asks {service!r}, which speaks {found_service.protocol}"
            yield Fault(what, "compare services that speak HTTP/1.1", place, _PREVENTS)


def _copies(live: Live | None) -> Copies | None:
    if live is None or not live.may_copy:
        return None
    return Copies(
        live.methods,
        asks=live.side_effects is SideEffects.RECORDED,
        key=os.environ.get(KEY_VARIABLE, "") if live.dry_run else "",
    )
