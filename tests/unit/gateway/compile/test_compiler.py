from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from moreton.config.words import read_path
from moreton.envoy.core.resources import Resource, ResourceKey, TypeUrl
from moreton.gateway.compile import GatewayCompiler, TlsUnreadable, Tracing
from moreton.gateway.core.limits import route_chain_names
from moreton.gateway.core.model import (
    Address,
    Destination,
    Endpoint,
    Gateway,
    HeaderChanges,
    Listener,
    Mirror,
    Route,
    RouteMatch,
    Service,
    TlsFiles,
)

PUBLIC = Gateway("public", (Listener(Address("127.0.0.1", 8080)),))
SHOP = Service("shop", (Address("127.0.0.1", 8000),))
CATALOGUE = Service("catalogue", discover="catalogue")
WEIGHTS = ResourceKey(TypeUrl.RUNTIME, "weights")
SHARES = ("charges", "lent-charges")
LIMITS = ("bans", "limits", "arrivals", "connections", *SHARES)
TABLE = ResourceKey(TypeUrl.ROUTES, "public")


def route(name: str, path: str, *services: str) -> Route:
    to = tuple(Destination(one) for one in services)
    return Route(name, RouteMatch(read_path(path)), to=to)


def keys(resources: list[Resource]) -> set[ResourceKey]:
    return {resource.key for resource in resources}


@pytest.fixture
def compiler() -> GatewayCompiler:
    """A gateway, two services and two routes, taken."""
    compiler = GatewayCompiler()
    compiler.put_gateway(PUBLIC)
    compiler.put_service(SHOP)
    compiler.put_service(CATALOGUE)
    compiler.put_route(route("everything", "/*", "shop"))
    compiler.put_route(route("products", "/products/*", "shop", "catalogue"))
    compiler.take()
    return compiler


def test_nothing_is_handed_out_twice(compiler: GatewayCompiler) -> None:
    compiler.put_gateway(PUBLIC)
    compiler.put_service(SHOP)
    compiler.put_route(route("everything", "/*", "shop"))
    compiler.put_endpoints("shop", [Endpoint(Address("127.0.0.1", 8000))])
    assert compiler.take() == ([], [])


def test_endpoints_change_nothing_but_their_own_resource(compiler: GatewayCompiler) -> None:
    compiler.put_endpoints("shop", [Endpoint(Address("127.0.0.1", 8001))])
    changed, removed = compiler.take()
    assert keys(changed) == {ResourceKey(TypeUrl.ENDPOINTS, "shop")}
    assert not removed


def test_endpoints_in_another_order_change_nothing(compiler: GatewayCompiler) -> None:
    places = [Endpoint(Address("127.0.0.1", port)) for port in (1, 2, 3)]
    compiler.put_endpoints("shop", places)
    compiler.take()
    compiler.put_endpoints("shop", [*reversed(places), places[0]])
    assert compiler.take() == ([], [])


def test_weights_change_the_runtime_layer_alone(compiler: GatewayCompiler) -> None:
    compiler.put_endpoints("catalogue", [Endpoint(Address("127.0.0.1", 1))])
    compiler.take()
    compiler.put_weights("products", {"shop": 7, "catalogue": 3})
    changed, removed = compiler.take()
    assert keys(changed) == {WEIGHTS}
    assert not removed
    compiler.put_weights("products", {"shop": 7, "catalogue": 3})
    assert compiler.take() == ([], [])


def test_weights_that_are_all_nothing_are_refused(compiler: GatewayCompiler) -> None:
    with pytest.raises(ValueError, match="give one above 0"):
        compiler.put_weights("products", {"shop": 0, "catalogue": 0})
    assert compiler.take() == ([], [])


def test_table_needs_the_clusters_and_endpoints_that_it_sends_to(
    compiler: GatewayCompiler,
) -> None:
    compiler.put_service(Service("audit", discover="audit"))
    compiler.put_service(Service("unused", discover="unused"))
    mirrored = replace(route("about", "/about", "shop"), mirrors=(Mirror("audit"),))
    compiler.put_route(mirrored)
    table = {one.key: one for one in compiler.take()[0]}[TABLE]
    assert table.needs == {
        ResourceKey(kind, name)
        for kind in (TypeUrl.CLUSTER, TypeUrl.ENDPOINTS)
        for name in ("shop", "catalogue", "audit")
    }


def test_table_needs_no_endpoints_of_a_service_that_envoy_resolves(
    compiler: GatewayCompiler,
) -> None:
    compiler.put_service(Service("shop", (Address("app.internal", 8000),)))
    changed, removed = compiler.take()
    assert removed == [ResourceKey(TypeUrl.ENDPOINTS, "shop")]
    resources = {one.key: one for one in changed}
    assert ResourceKey(TypeUrl.ENDPOINTS, "shop") not in resources[TABLE].needs
    cluster = cluster_pb2.Cluster.FromString(resources[ResourceKey(TypeUrl.CLUSTER, "shop")].body)
    assert cluster.type == cluster_pb2.Cluster.STRICT_DNS
    compiler.put_endpoints("shop", [Endpoint(Address("app.internal", 8000))])
    assert compiler.take() == ([], [])


def test_route_to_an_unknown_service_holds_up_no_table(compiler: GatewayCompiler) -> None:
    compiler.put_route(route("lost", "/lost", "nobody"))
    (table,) = compiler.take()[0]
    assert not any(key.name == "nobody" for key in table.needs)
    compiler.put_service(Service("nobody", discover="nobody"))
    (again,) = (one for one in compiler.take()[0] if one.key == TABLE)
    assert again.version == table.version
    assert ResourceKey(TypeUrl.CLUSTER, "nobody") in again.needs


def test_service_keeps_its_endpoints_when_its_settings_change(compiler: GatewayCompiler) -> None:
    compiler.put_endpoints("catalogue", [Endpoint(Address("127.0.0.1", 1))])
    compiler.take()
    compiler.put_service(replace(CATALOGUE, max_connections=5))
    changed, _ = compiler.take()
    assert keys(changed) == {ResourceKey(TypeUrl.CLUSTER, "catalogue")}


def test_draining_endpoint_is_marked_and_the_first_of_equals_counts() -> None:
    compiler = GatewayCompiler()
    compiler.put_service(CATALOGUE)
    place = Address("127.0.0.1", 1)
    compiler.put_endpoints("catalogue", [Endpoint(place, weight=5, healthy=False), Endpoint(place)])
    found = {one.key: one for one in compiler.take()[0]}
    body = found[ResourceKey(TypeUrl.ENDPOINTS, "catalogue")].body
    (member,) = endpoint_pb2.ClusterLoadAssignment.FromString(body).endpoints[0].lb_endpoints
    assert member.load_balancing_weight.value == 5
    assert member.health_status == 3  # DRAINING


def test_removed_objects_are_removed_once(compiler: GatewayCompiler) -> None:
    compiler.remove_route("products")
    compiler.remove_service("catalogue")
    _, removed = compiler.take()
    assert set(removed) == {
        ResourceKey(TypeUrl.CLUSTER, "catalogue"),
        ResourceKey(TypeUrl.ENDPOINTS, "catalogue"),
    }
    compiler.remove_service("catalogue")
    compiler.remove_route("products")
    compiler.remove_gateway("nowhere")
    assert compiler.take() == ([], [])


def test_gateway_with_fewer_listeners_drops_the_rest(compiler: GatewayCompiler) -> None:
    second = Listener(Address("127.0.0.1", 8081))
    compiler.put_gateway(replace(PUBLIC, listeners=(*PUBLIC.listeners, second)))
    assert keys(compiler.take()[0]) == {ResourceKey(TypeUrl.LISTENER, "public/1")}
    compiler.put_gateway(PUBLIC)
    assert compiler.take() == ([], [ResourceKey(TypeUrl.LISTENER, "public/1")])
    compiler.remove_gateway("public")
    names = [*(f"{kind}/public" for kind in LIMITS), *route_chain_names("public")]
    filters = {ResourceKey(TypeUrl.EXTENSION, name) for name in names}
    assert set(compiler.take()[1]) == {TABLE, ResourceKey(TypeUrl.LISTENER, "public/0"), *filters}


def test_listener_needs_the_receiver_of_its_spans(compiler: GatewayCompiler) -> None:
    compiler.put_tracing(Tracing("http://traces.internal:4318"))
    resources = {one.key: one for one in compiler.take()[0]}
    receiver = ResourceKey(TypeUrl.CLUSTER, "_otlp")
    assert resources[ResourceKey(TypeUrl.LISTENER, "public/0")].needs == {receiver}
    assert receiver in resources
    compiler.put_tracing(None)
    changed, removed = compiler.take()
    assert keys(changed) == {ResourceKey(TypeUrl.LISTENER, "public/0")}
    assert removed == [receiver]


def tls_gateway(folder: Path) -> Gateway:
    files = TlsFiles(str(folder / "cert.pem"), str(folder / "key.pem"))
    return replace(PUBLIC, listeners=(Listener(Address("127.0.0.1", 8443), files),))


def test_certificate_is_read_again_when_asked(compiler: GatewayCompiler, tmp_path: Path) -> None:
    gateway = tls_gateway(tmp_path)
    (tmp_path / "cert.pem").write_text("certificate")
    (tmp_path / "key.pem").write_text("key")
    compiler.put_gateway(gateway)
    key = ResourceKey(TypeUrl.SECRET, str(tmp_path / "cert.pem"))
    assert key in keys(compiler.take()[0])
    compiler.refresh_secrets()
    assert compiler.take() == ([], [])
    (tmp_path / "cert.pem").write_text("renewed")
    compiler.refresh_secrets()
    (renewed,) = compiler.take()[0]
    secret = secret_pb2.Secret.FromString(renewed.body)
    assert secret.tls_certificate.certificate_chain.inline_bytes == b"renewed"
    compiler.put_gateway(PUBLIC)
    assert compiler.take()[1] == [key]


def test_gateway_whose_key_cannot_be_read_changes_nothing(
    compiler: GatewayCompiler, tmp_path: Path
) -> None:
    (tmp_path / "cert.pem").write_text("certificate")
    with pytest.raises(TlsUnreadable, match=r"key\.pem cannot be read: No such file"):
        compiler.put_gateway(tls_gateway(tmp_path))
    assert compiler.take() == ([], [])


def test_certificate_that_is_gone_for_a_moment_stays_in_force(
    compiler: GatewayCompiler, tmp_path: Path
) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text(name)
    compiler.put_gateway(tls_gateway(tmp_path))
    compiler.take()
    (tmp_path / "cert.pem").unlink()
    with pytest.raises(TlsUnreadable):
        compiler.refresh_secrets()
    assert compiler.take() == ([], [])


VERSIONS = """
from moreton.gateway.compile import GatewayCompiler
from moreton.config.words import read_path
from moreton.gateway.core.model import *
compiler = GatewayCompiler()
compiler.put_gateway(Gateway("public", (Listener(Address("127.0.0.1", 1)),), access_log="stdout"))
compiler.put_service(Service("shop", (Address("127.0.0.1", 1), Address("127.0.0.1", 2))))
for n in range(30):
    match = RouteMatch(read_path(f"/{n}/*"), frozenset(["a.example", "b.example", "*.c.example"]),
        frozenset(["GET", "HEAD", "POST"]))
    compiler.put_route(Route(f"r{n}", match, to=(Destination("shop"),),
        request_headers=HeaderChanges({"x-a": "1", "x-b": "2"}, {"x-c": "3"}, ("x-d", "x-e"))))
print(*sorted(f"{one.key.name}={one.version}" for one in compiler.take()[0]))
"""


@pytest.mark.slow
def test_versions_are_the_same_in_every_process() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", VERSIONS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1
    assert "public=" in outputs.pop()


def test_header_changes_in_another_order_change_nothing(compiler: GatewayCompiler) -> None:
    one = replace(
        route("about", "/about", "shop"),
        request_headers=HeaderChanges({"x-a": "1", "x-b": "2"}, remove=("x-c", "x-d")),
    )
    other = replace(
        one, request_headers=HeaderChanges({"x-b": "2", "x-a": "1"}, remove=("x-d", "x-c"))
    )
    compiler.put_route(one)
    compiler.take()
    compiler.put_route(other)
    assert compiler.take() == ([], [])
