"""Which route takes a request, as a document; for the API and for `moreton explain` offline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from moreton.controlplane.objects.takes import takes
from moreton.controlplane.settings import Settings
from moreton.gateway.core.explain import Request, explain
from moreton.gateway.core.model import Route


def explanation(
    routes: Iterable[Route],
    settings: Settings,
    method: str,
    url: str,
    headers: Mapping[str, str],
) -> dict[str, Any]:
    """The winner and the near misses. Raises `ValueError` for a URL that is none."""
    found = explain(routes, Request.of(method, url, headers))
    winner = found.winner
    return {
        "method": method,
        "url": url,
        "winner": None if winner is None else _route(winner, settings),
        "near_misses": [
            {**_route(miss.route, settings), "lost_by": miss.lost_by} for miss in found.near_misses
        ],
    }


def _route(route: Route, settings: Settings) -> dict[str, Any]:
    mine = route.name in settings.routes
    return {
        "name": route.name,
        "takes": takes(route.match),
        "weights": {each.service: each.weight for each in route.to},
        "redirect": None if route.redirect is None else route.redirect.status,
        "where": str(settings.where("routes", route.name) or "") if mine else "",
    }
