from __future__ import annotations

from moreton.controlplane.core.objects import Kind, ObjectKey, Value
from moreton.controlplane.publishing.compiled import WEIGHTS, Compiled
from moreton.envoy.core.resources import ResourceKey, TypeUrl
from moreton.gateway.compile import GatewayCompiler
from moreton.gateway.core.model import (
    Address,
    Destination,
    Endpoint,
    Gateway,
    Listener,
    Route,
    RouteMatch,
    Service,
)
from moreton.kernel.patterns import PathKind, PathPattern

GATEWAY = Gateway("public", (Listener(Address("127.0.0.1", 8080)),))
TABLE = ResourceKey(TypeUrl.ROUTES, "public")


def route(**to: int) -> Route:
    match = RouteMatch(PathPattern(PathKind.PREFIX, "/*", ""))
    return Route("r", match, to=tuple(Destination(*each) for each in to.items()))


def put(compiled: Compiled, *values: Value) -> list[bool]:
    kinds = {Gateway: Kind.GATEWAY, Service: Kind.SERVICE, Route: Kind.ROUTE}
    return [compiled.set(ObjectKey(kinds[type(each)], each.name), each) for each in values]


def compiled_with(*values: Value) -> Compiled:
    def endpoints_of(service: Service) -> list[Endpoint]:
        return [Endpoint(address) for address in service.addresses]

    compiled = Compiled(GatewayCompiler(), endpoints_of)
    put(compiled, GATEWAY, Service("a"), Service("b"), *values)
    compiled.take()
    return compiled


def test_change_of_weights_alone_leaves_the_route_table_as_it_is() -> None:
    compiled = compiled_with(route(a=1, b=1))
    assert put(compiled, route(a=1, b=9)) == [False]
    changed, removed = compiled.take()
    assert [each.key for each in changed] in ([WEIGHTS], [])
    assert removed == []


def test_change_of_destinations_changes_the_table() -> None:
    compiled = compiled_with(route(a=1, b=1))
    assert put(compiled, route(a=1)) == [True]
    assert TABLE in {each.key for each in compiled.take()[0]}


def test_same_value_again_changes_nothing() -> None:
    compiled = compiled_with(route(a=1))
    assert put(compiled, route(a=1), GATEWAY) == [False, False]
    assert compiled.take() == ([], [])


def test_removed_object_leaves_the_snapshot() -> None:
    compiled = compiled_with(route(a=1))
    key = ObjectKey(Kind.SERVICE, "b")
    assert compiled.set(key, None)
    assert not compiled.set(key, None)
    compiled.take()
    assert ResourceKey(TypeUrl.CLUSTER, "b") not in compiled.snapshot.resources
    assert compiled.resources_of(key) == []


def test_service_whose_addresses_are_names_is_carried_by_its_cluster_alone() -> None:
    compiled = compiled_with(Service("named", (Address("shop.internal", 80),)))
    carried = compiled.resources_of(ObjectKey(Kind.SERVICE, "named"))
    assert carried == [ResourceKey(TypeUrl.CLUSTER, "named")]


def test_route_is_carried_by_the_tables_of_its_gateways_and_the_weights() -> None:
    compiled = compiled_with(route(a=1, b=1))
    assert compiled.resources_of(ObjectKey(Kind.ROUTE, "r")) == [TABLE, WEIGHTS]
