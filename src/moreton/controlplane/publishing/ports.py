"""What the publisher needs of its neighbours, so that it can be tested without a proxy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from moreton.envoy.core.resources import Resource, ResourceKey, Snapshot
from moreton.gateway.core.model import Endpoint, Gateway, Route, Service
from moreton.ratelimit.core.rules.values import LimitRule

Tried: TypeAlias = Route | LimitRule
# Whether a proxy would take these routes and limits together: its refusal, or an empty string.
Preflight: TypeAlias = Callable[[Sequence[Tried]], Awaitable[str]]


class Compiler(Protocol):
    """Values in, what changed of the resources out."""

    def put_gateway(self, gateway: Gateway) -> None:
        """Add or replace."""
        ...

    def remove_gateway(self, name: str) -> None:
        """Take out."""
        ...

    def put_service(self, service: Service) -> None:
        """Add or replace."""
        ...

    def put_endpoints(self, service: str, members: Sequence[Endpoint]) -> None:
        """Where it answers now."""
        ...

    def remove_service(self, name: str) -> None:
        """Take out."""
        ...

    def put_route(self, route: Route) -> None:
        """Add or replace."""
        ...

    def put_weights(self, route: str, weights: Mapping[str, int]) -> None:
        """The shares alone."""
        ...

    def remove_route(self, name: str) -> None:
        """Take out."""
        ...

    def put_limit(self, rule: LimitRule) -> None:
        """Add or replace."""
        ...

    def remove_limit(self, name: str) -> None:
        """Take out."""
        ...

    def take(self) -> tuple[list[Resource], list[ResourceKey]]:
        """What changed and what went since the last call."""
        ...


class Xds(Protocol):
    """Where snapshots go, and what became of them."""

    def publish(self, group: str, snapshot: Snapshot) -> None:
        """The latest wins."""
        ...

    def status(self, group: str, key: ResourceKey) -> Any:
        """With `state`, `applied`, `proxies`, `version`, `reason`."""
        ...

    def proxies(self) -> Sequence[Any]:
        """Each with `group` and `rejected`: key -> (version, reason)."""
        ...
