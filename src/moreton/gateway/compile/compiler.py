"""From values to resources, recompiling only what changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envoy.config.route.v3 import route_components_pb2

from moreton.envoy.core.resources import Resource, ResourceKey, TypeUrl
from moreton.envoy.wire import content_hash, delimited, serialize
from moreton.gateway.compile.actions import WEIGHT_PREFIX, envoy_route, retry_policy
from moreton.gateway.compile.listeners import Tracing, listeners, runtime
from moreton.gateway.compile.services import cluster, endpoints, resource
from moreton.gateway.compile.table import Entry, Table
from moreton.gateway.core.model import Endpoint, Gateway, Retries, Route, Service
from moreton.gateway.core.routing import ANY_HOST, host_patterns, pattern_covers, rank

DEFAULT_RETRIES = Retries(2, ("connect-failure", "refused-stream", "reset-before-request"))
_VIRTUAL_HOST_DEFAULTS = serialize(
    route_components_pb2.VirtualHost(retry_policy=retry_policy(DEFAULT_RETRIES))
)


def _into(table: Table, host: str, route: Route, body: bytes) -> None:
    """Put *route* into the *table* of *host* when one of its hosts covers that."""
    covering = [p for p in host_patterns(route.match) if pattern_covers(p, host)]
    if covering:
        ranks = min(rank(route.match, pattern) for pattern in covering)
        entry = Entry((*ranks, route.name), route.match.path.prefix or "/", body)
        table.put(route.name, entry)


class _Gateway:
    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.hosts: dict[str, Table] = {ANY_HOST: Table()}
        self.services: dict[str, frozenset[str]] = {}  # route -> services it needs
        self.dirty = True


class GatewayCompiler:
    """Holds everything compiled; `take` hands out what changed since it was last called."""

    def __init__(self, tracing: Tracing | None = None) -> None:
        self._tracing = tracing
        self._gateways: dict[str, _Gateway] = {}
        self._routes: dict[str, Route] = {}
        self._weights: dict[str, dict[str, int]] = {}
        self._weights_dirty = True
        self._empty: set[str] = set()  # services without an endpoint
        self._published: dict[ResourceKey, str] = {}
        self._changed: dict[ResourceKey, Resource] = {}
        self._removed: set[ResourceKey] = set()

    def put_gateway(self, gateway: Gateway) -> None:
        """Add or replace a gateway: its listeners, its own table of all routes for it."""
        self.remove_gateway(gateway.name)
        made = self._gateways[gateway.name] = _Gateway(gateway)
        for one in listeners(gateway, self._tracing):
            self._put(one)
        for route in self._routes.values():
            self._route_into(made, route)

    def remove_gateway(self, name: str) -> None:
        """Take a gateway and its listeners out."""
        made = self._gateways.pop(name, None)
        if made is None:
            return
        self._drop(ResourceKey(TypeUrl.ROUTES, name))
        for number, _ in enumerate(made.gateway.listeners):
            self._drop(ResourceKey(TypeUrl.LISTENER, f"{name}/{number}"))

    def put_service(self, service: Service) -> None:
        """Add or replace a service; it has no endpoints until `put_endpoints`."""
        self._put(cluster(service))
        if ResourceKey(TypeUrl.ENDPOINTS, service.name) not in self._published:
            self.put_endpoints(service.name, [Endpoint(place) for place in service.addresses])

    def put_endpoints(self, service: str, members: Sequence[Endpoint]) -> None:
        """Where *service* answers now."""
        self._put(endpoints(service, members))
        if (service in self._empty) is bool(members):
            self._empty ^= {service}
            self._weights_dirty = True

    def remove_service(self, name: str) -> None:
        """Take a service and its endpoints out."""
        self._drop(ResourceKey(TypeUrl.CLUSTER, name))
        self._drop(ResourceKey(TypeUrl.ENDPOINTS, name))
        self._empty.discard(name)

    def put_route(self, route: Route) -> None:
        """Add or replace a route."""
        before = self._routes.get(route.name)
        if before is not None and before.match.hosts != route.match.hosts:
            self.remove_route(route.name)
        self._routes[route.name] = route
        for made in self._gateways.values():
            self._route_into(made, route)
        self.put_weights(route.name, {d.service: d.weight for d in route.to})

    def remove_route(self, name: str) -> None:
        """Take a route out."""
        route = self._routes.pop(name, None)
        if route is None:
            return
        for made in self._gateways.values():
            for table in made.hosts.values():
                table.remove(name)
            made.services.pop(name, None)
            made.dirty = True
        self._weights_dirty |= self._weights.pop(name, None) is not None

    def put_weights(self, route: str, weights: Mapping[str, int]) -> None:
        """The shares of *route*'s destinations; travels as a runtime value.

        A destination without an endpoint gets nothing and its share goes to the others, as long
        as one of those has an endpoint and a weight.
        """
        if len(weights) > 1:
            self._weights[route] = dict(weights)
            self._weights_dirty = True
        elif self._weights.pop(route, None) is not None:
            self._weights_dirty = True

    def take(self) -> tuple[list[Resource], list[ResourceKey]]:
        """What changed and what went since the last call."""
        for name, made in self._gateways.items():
            if made.dirty:
                made.dirty = False
                self._put(self._table(name, made))
        if self._weights_dirty:
            self._weights_dirty = False
            effective = {route: self._effective(w) for route, w in self._weights.items()}
            self._put(resource(TypeUrl.RUNTIME, "weights", runtime(effective, WEIGHT_PREFIX)))
        changed, removed = list(self._changed.values()), list(self._removed)
        self._changed.clear()
        self._removed.clear()
        return changed, removed

    def _effective(self, weights: Mapping[str, int]) -> Mapping[str, int]:
        if not any(weight and service not in self._empty for service, weight in weights.items()):
            return weights
        return {s: 0 if s in self._empty else weight for s, weight in weights.items()}

    def _put(self, one: Resource) -> None:
        self._removed.discard(one.key)
        if self._published.get(one.key) != one.version:
            self._published[one.key] = one.version
            self._changed[one.key] = one

    def _drop(self, key: ResourceKey) -> None:
        self._changed.pop(key, None)
        if self._published.pop(key, None) is not None:
            self._removed.add(key)

    def _route_into(self, made: _Gateway, route: Route) -> None:
        if route.gateways and made.gateway.name not in route.gateways:
            return
        body = serialize(envoy_route(route))
        patterns = host_patterns(route.match)
        for pattern in patterns:
            if pattern not in made.hosts:
                made.hosts[pattern] = self._new_table(made, pattern)
        for host, table in made.hosts.items():
            _into(table, host, route, body)
        made.services[route.name] = frozenset(
            [d.service for d in route.to] + [m.service for m in route.mirrors]
        )
        made.dirty = True

    def _new_table(self, made: _Gateway, host: str) -> Table:
        """The table of a host seen for the first time: every route that covers it."""
        table = Table()
        for name in made.services:
            route = self._routes[name]
            _into(table, host, route, serialize(envoy_route(route)))
        return table

    def _table(self, name: str, made: _Gateway) -> Resource:
        parts = [delimited(1, name.encode())]
        hashes = []
        for host, table in sorted(made.hosts.items()):
            matcher, digest = table.matcher()
            own = delimited(1, host.encode()) + delimited(2, host.encode())
            virtual_host = own + _VIRTUAL_HOST_DEFAULTS + delimited(21, matcher)
            parts.append(delimited(2, virtual_host))
            hashes += [host.encode(), digest.encode()]
        needs = set()
        for service in set().union(*made.services.values()):
            needs.add(ResourceKey(TypeUrl.CLUSTER, service))
            needs.add(ResourceKey(TypeUrl.ENDPOINTS, service))
        key = ResourceKey(TypeUrl.ROUTES, name)
        return Resource(key, content_hash(*hashes), b"".join(parts), frozenset(needs))
