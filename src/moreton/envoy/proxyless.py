"""Resources for gRPC clients that find services by `xds:///NAME`, without a proxy.

A gRPC client takes less than Envoy and refuses or ignores the rest, so it gets resources of its
own: a listener named as the target, with its route inside. Source: grpc/proposal A27, A28.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)

from moreton.envoy.core.resources import Resource, ResourceKey, Snapshot, TypeUrl
from moreton.envoy.wire import content_hash, serialize


class Place(NamedTuple):
    """An IP address, a port, and a weight of at least 1."""

    host: str
    port: int
    weight: int = 1


def proxyless_snapshot(services: Mapping[str, Sequence[Place]]) -> Snapshot:
    """What gRPC clients are told of *services*."""
    resources: dict[ResourceKey, Resource] = {}
    for name, places in services.items():
        for resource in proxyless_resources(name, places):
            resources[resource.key] = resource
    return Snapshot(resources)


def proxyless_resources(name: str, places: Sequence[Place]) -> list[Resource]:
    """The listener, cluster and endpoints of one service."""
    return [
        _resource(TypeUrl.LISTENER, name, _listener(name)),
        _resource(TypeUrl.CLUSTER, name, _cluster(name)),
        _resource(TypeUrl.ENDPOINTS, name, _endpoints(name, places)),
    ]


def _resource(type_url: TypeUrl, name: str, message: object) -> Resource:
    body = serialize(message)
    return Resource(ResourceKey(type_url, name), content_hash(body), body)


def _listener(name: str) -> listener_pb2.Listener:
    routes = route_pb2.RouteConfiguration(name=name)
    host = routes.virtual_hosts.add(name=name, domains=["*"])
    host.routes.add(match={"prefix": ""}, route={"cluster": name})
    manager = manager_pb2.HttpConnectionManager(stat_prefix=name, route_config=routes)
    manager.http_filters.add(name="router").typed_config.Pack(router_pb2.Router())
    listener = listener_pb2.Listener(name=name)
    listener.api_listener.api_listener.Pack(manager, deterministic=True)
    return listener


def _cluster(name: str) -> cluster_pb2.Cluster:
    cluster = cluster_pb2.Cluster(name=name, type=cluster_pb2.Cluster.EDS)
    cluster.eds_cluster_config.eds_config.ads.SetInParent()
    cluster.eds_cluster_config.eds_config.resource_api_version = 2
    cluster.lb_policy = cluster_pb2.Cluster.ROUND_ROBIN
    return cluster


def _endpoints(name: str, places: Sequence[Place]) -> endpoint_pb2.ClusterLoadAssignment:
    assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    if places:
        group = assignment.endpoints.add()
        group.locality.region = "local"
        group.load_balancing_weight.value = 1  # a locality without a weight is not used
        for place in places:
            member = group.lb_endpoints.add()
            member.endpoint.address.socket_address.address = place.host
            member.endpoint.address.socket_address.port_value = place.port
            member.load_balancing_weight.value = place.weight
    return assignment
