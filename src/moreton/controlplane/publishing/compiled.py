"""What is compiled now, and the smallest call of the compiler that makes it what is desired."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from moreton.controlplane.core.objects import Kind, ObjectKey, Value
from moreton.controlplane.publishing.ports import Compiler
from moreton.envoy.core.resources import Resource, ResourceKey, Snapshot, TypeUrl
from moreton.gateway.core.limits import (
    chain_name,
    filter_resources,
    is_for_gateway,
    is_of_routes,
    kept_by_proxies,
)
from moreton.gateway.core.model import Destination, Endpoint, Gateway, Route, Service
from moreton.ratelimit.core.rules.values import LimitRule
from moreton.ratelimit.rls.core.facts import is_asked_for

WEIGHTS = ResourceKey(TypeUrl.RUNTIME, "weights")


@dataclass(slots=True)
class Compiled:
    """The values that the compiler holds and the snapshot that came of them."""

    compiler: Compiler
    endpoints_of: Callable[[Service], Sequence[Endpoint]]
    values: dict[ObjectKey, Value] = field(default_factory=dict)
    snapshot: Snapshot = field(default_factory=Snapshot)
    members: dict[str, Sequence[Endpoint]] = field(default_factory=dict)
    _gateways: set[str] = field(default_factory=set)

    def set(self, key: ObjectKey, value: Value | None) -> bool:
        """Compile *value* for *key*; whether anything but a route's weights changed."""
        before = self.values.get(key)
        if value is None:
            self._remove(key, before)
            return before is not None
        if value == before:
            return False
        if isinstance(value, Gateway):
            # First, as it may raise: what was compiled then stays as it was.
            self.compiler.put_gateway(value)
            self._gateways.add(value.name)
        self.values[key] = value
        match value:
            case Gateway():
                pass
            case Service():
                self.compiler.put_service(value)
                self._put_endpoints(value)
            case Route():
                if isinstance(before, Route) and _differ_in_weights_only(before, value):
                    self.compiler.put_weights(
                        value.name, {each.service: each.weight for each in value.to}
                    )
                    return False
                self.compiler.put_route(value)
            case LimitRule():
                self.compiler.put_limit(value)
        return True

    def refresh_endpoints(self, service: str) -> None:
        """The instances of *service* changed."""
        value = self.values.get(ObjectKey(Kind.SERVICE, service))
        if isinstance(value, Service):
            self._put_endpoints(value)

    def take(self) -> tuple[list[Resource], list[ResourceKey]]:
        """What changed since the last call; the snapshot has it."""
        changed, removed = self.compiler.take()
        if changed or removed:
            self.snapshot = self.snapshot.changed(changed, removed)
        return changed, removed

    def resources_of(self, key: ObjectKey) -> list[ResourceKey]:
        """The published resources that carry the compiled object *key*.

        A service whose addresses are names has no endpoints: Envoy asks DNS.
        """
        wanted = self.names_of(self.values.get(key))
        return [each for each in wanted if each in self.snapshot.resources]

    def names_of(self, value: Value | None) -> list[ResourceKey]:
        """The resources that carry *value*, published or not."""
        match value:
            case Gateway():
                listeners = (f"{value.name}/{number}" for number in range(len(value.listeners)))
                return [ResourceKey(TypeUrl.LISTENER, name) for name in listeners]
            case Service():
                return [
                    ResourceKey(TypeUrl.CLUSTER, value.name),
                    ResourceKey(TypeUrl.ENDPOINTS, value.name),
                ]
            case Route():
                names = value.gateways or self._gateways
                tables = [ResourceKey(TypeUrl.ROUTES, name) for name in sorted(names)]
                return [*tables, WEIGHTS] if len(value.to) > 1 else tables
            case LimitRule():
                return self._names_of_limit(value)
            case None:
                return []

    def _names_of_limit(self, rule: LimitRule) -> list[ResourceKey]:
        """Its filters, whether they act, and the routes that turn them on."""
        names = [name for name in sorted(self._gateways) if is_for_gateway(rule, name)]
        if is_asked_for(rule):
            return [ResourceKey(TypeUrl.EXTENSION, chain_name(name)) for name in names]
        if not kept_by_proxies(rule):
            return []
        found = [
            ResourceKey(TypeUrl.EXTENSION, one)
            for name in names
            for one in filter_resources(rule, name)
        ]
        if is_of_routes(rule):
            found += [ResourceKey(TypeUrl.ROUTES, name) for name in names]
        return [*found, WEIGHTS]

    def _put_endpoints(self, service: Service) -> None:
        self.members[service.name] = members = self.endpoints_of(service)
        self.compiler.put_endpoints(service.name, members)

    def _remove(self, key: ObjectKey, before: Value | None) -> None:
        if before is None:
            return
        del self.values[key]
        match before:
            case Gateway():
                self._gateways.discard(key.name)
                self.compiler.remove_gateway(key.name)
            case Service():
                self.members.pop(key.name, None)
                self.compiler.remove_service(key.name)
            case Route():
                self.compiler.remove_route(key.name)
            case LimitRule():
                self.compiler.remove_limit(key.name)


def _differ_in_weights_only(before: Route, after: Route) -> bool:
    if len(before.to) != len(after.to) or len(after.to) < 2:
        return False
    bare = tuple(Destination(each.service, 1) for each in after.to)
    if tuple(Destination(each.service, 1) for each in before.to) != bare:
        return False
    return replace(before, to=bare) == replace(after, to=bare)
