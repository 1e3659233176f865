"""A route as all that a table needs of it."""

from __future__ import annotations

from moreton.gateway.compile.actions import (
    copied_routes,
    envoy_routes,
    first_routes,
    preflight_route,
)
from moreton.gateway.compile.copies.filters import COPIES
from moreton.gateway.compile.hosts import Compiled
from moreton.gateway.compile.paths import plan
from moreton.gateway.compile.table import Entry
from moreton.gateway.core.model import Route
from moreton.gateway.core.routing import host_patterns, rank
from moreton.kernel.patterns import ANY_HOST


def compiled_route(route: Route, limits: bytes) -> Compiled:
    """*route*, with *limits*, the part of a `Route` that puts it under them.

    Users who go first and what is copied of it stand before it, and answers to browsers'
    preflights after it.
    """
    path = plan(route.match.path)
    # The host's part of the rank is in the tables: the narrower one's routes stand first.
    order = (*rank(route.match, ANY_HOST)[1:], route.name)
    own = route.match
    has_conditions = bool(own.methods or own.headers or own.query)
    copied = copied_routes(route, path)
    *before, last = [*first_routes(route, path), *copied, *envoy_routes(route, path)]
    entries = [Entry((*order, 0), path, last + limits, has_conditions)]
    entries += [
        Entry((*order, number), path, body + limits, has_conditions=True)
        for number, body in enumerate(before, start=-len(before))
    ]
    preflight = preflight_route(route, path)
    if preflight is not None:
        entries.append(Entry((*order, 1), path, preflight + limits, has_conditions=True))
    return Compiled(
        route.name,
        tuple(host_patterns(route.match)),
        route.gateways,
        frozenset(
            [to.service for to in route.to]
            + [mirror.service for mirror in route.mirrors]
            + ([COPIES] if copied else [])
        ),
        tuple(entries),
    )
