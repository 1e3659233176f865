"""Tells gRPC clients of services too, so that `xds:///NAME` reaches one without a proxy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from moreton.controlplane.publishing.ports import Compiler
from moreton.envoy.core.resources import Resource, ResourceKey, Snapshot
from moreton.envoy.proxyless import Place, proxyless_resources
from moreton.gateway.core.model import Endpoint, Gateway, Route, Service
from moreton.ratelimit.core.rules.values import LimitRule


class WithProxyless:
    """A compiler that also keeps the snapshot of gRPC clients, and hands it to *publish*."""

    def __init__(self, compiler: Compiler, publish: Callable[[Snapshot], None]) -> None:
        self._compiler = compiler
        self._publish = publish
        self._snapshot = Snapshot()
        self._changed: dict[str, Sequence[Endpoint] | None] = {}
        self.put_gateway: Callable[[Gateway], None] = compiler.put_gateway
        self.remove_gateway: Callable[[str], None] = compiler.remove_gateway
        self.put_route: Callable[[Route], None] = compiler.put_route
        self.put_weights: Callable[[str, Mapping[str, int]], None] = compiler.put_weights
        self.remove_route: Callable[[str], None] = compiler.remove_route
        self.put_limit: Callable[[LimitRule], None] = compiler.put_limit
        self.remove_limit: Callable[[str], None] = compiler.remove_limit

    def put_service(self, service: Service) -> None:
        """Add or replace; its endpoints follow."""
        self._compiler.put_service(service)

    def put_endpoints(self, service: str, members: Sequence[Endpoint]) -> None:
        """Where it answers now."""
        self._compiler.put_endpoints(service, members)
        self._changed[service] = members

    def remove_service(self, name: str) -> None:
        """Take out."""
        self._compiler.remove_service(name)
        self._changed[name] = None

    def take(self) -> tuple[list[Resource], list[ResourceKey]]:
        """What changed for Envoy; the gRPC clients' snapshot is published by the way."""
        if self._changed:
            put: list[Resource] = []
            removed: list[ResourceKey] = []
            for name, members in self._changed.items():
                if members is None:
                    removed += [each.key for each in proxyless_resources(name, [])]
                else:
                    places = [
                        Place(m.address.host, m.address.port, m.weight)
                        for m in members
                        if m.healthy
                    ]
                    put += proxyless_resources(name, places)
            self._changed.clear()
            self._snapshot = self._snapshot.changed(put, removed)
            self._publish(self._snapshot)
        return self._compiler.take()
