"""Routes that would take the same requests with equal rank, found without looking at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from moreton.gateway.core.model import Route
from moreton.gateway.core.routing import bucket_keys, can_clash


@dataclass(slots=True)
class ClashIndex:
    """The routes by what they could clash in; looking up is nearly O(1)."""

    _routes: dict[str, Route] = field(default_factory=dict)
    _buckets: dict[object, set[str]] = field(default_factory=dict)

    def put(self, route: Route) -> None:
        """Add or replace a route."""
        before = self._routes.get(route.name)
        if before is not None:
            if before.match == route.match and before.gateways == route.gateways:
                self._routes[route.name] = route
                return
            self.remove(route.name)
        self._routes[route.name] = route
        for key in bucket_keys(route):
            self._buckets.setdefault(key, set()).add(route.name)

    def remove(self, name: str) -> None:
        """Take a route out; nothing when it is not there."""
        route = self._routes.pop(name, None)
        if route is None:
            return
        for key in bucket_keys(route):
            bucket = self._buckets.get(key, set())
            bucket.discard(name)
            if not bucket:
                self._buckets.pop(key, None)

    def clashing(self, route: Route, *, ignoring: Iterable[str] = ()) -> list[str]:
        """The routes that *route* would clash with, itself and *ignoring* aside."""
        aside = {route.name, *ignoring}
        return sorted(
            {
                name
                for key in bucket_keys(route)
                for name in self._buckets.get(key, ())
                if name not in aside and can_clash(route, self._routes[name])
            }
        )
