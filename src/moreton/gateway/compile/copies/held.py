"""Which routes are copied, and which share of each."""

from __future__ import annotations

from collections.abc import Mapping

from moreton.gateway.compile.copies.routes import share_key
from moreton.gateway.core.model import Route


class HeldCopies:
    """The runtime values of copies: a share for each route that has one, else none at all."""

    def __init__(self) -> None:
        self._routes: set[str] = set()
        self._shares: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._routes)

    def put(self, route: Route) -> bool:
        """*route* may be copied, or not any more; whether that is news."""
        if (route.name in self._routes) is (route.copies is not None):
            return False
        self._routes ^= {route.name}
        return True

    def remove(self, route: str) -> bool:
        """*route* is gone; should it come again, none of it is copied. Whether it was copied."""
        self._shares.pop(route, None)
        was = route in self._routes
        self._routes.discard(route)
        return was

    def put_share(self, route: str, share: float) -> None:
        """So many of *route*'s requests in [0, 1] are copied, while it may be."""
        if not 0 <= share <= 1:
            raise ValueError(f"{share} of the requests of {route!r}: a share is from 0 to 1")
        self._shares[route] = share

    def values(self) -> Mapping[str, float]:
        """What a proxy is told."""
        return {share_key(name): self._shares.get(name, 0.0) for name in self._routes}
