"""Services as Envoy clusters, their endpoints as load assignments."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from datetime import timedelta

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2, health_check_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from moreton.envoy.core.resources import Resource, ResourceKey, TypeUrl
from moreton.envoy.wire import content_hash, serialize
from moreton.gateway.compile.actions import any_of
from moreton.gateway.core.model import Address, Endpoint, Protocol, Service

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_BUFFER_BYTES = 32 * 1024  # Envoy's edge guide; its default of 1 MiB is for a mesh
_RETRY_BUDGET_PERCENT = 20.0
_RETRIES_MIN = 3
_KEEPALIVE_SECONDS = 60


def resource(type_url: TypeUrl, name: str, body: bytes, *needs: ResourceKey) -> Resource:
    """A resource whose version is the hash of its *body*."""
    return Resource(ResourceKey(type_url, name), content_hash(body), body, frozenset(needs))


def cluster(service: Service) -> Resource:
    """The cluster of *service*; its endpoints come apart, over ADS."""
    out = cluster_pb2.Cluster(name=service.name, type=cluster_pb2.Cluster.EDS)
    out.connect_timeout.FromTimedelta(service.connect_timeout)
    out.eds_cluster_config.eds_config.ads.SetInParent()
    out.eds_cluster_config.eds_config.resource_api_version = 2
    out.per_connection_buffer_limit_bytes.value = _BUFFER_BYTES
    out.lb_policy = cluster_pb2.Cluster.LEAST_REQUEST
    out.common_lb_config.healthy_panic_threshold.value = 0
    keepalive = out.upstream_connection_options.tcp_keepalive
    keepalive.keepalive_time.value = _KEEPALIVE_SECONDS
    limits = out.circuit_breakers.thresholds.add()
    limits.max_connections.value = service.max_connections
    limits.max_pending_requests.value = service.max_requests
    limits.max_requests.value = service.max_requests
    limits.retry_budget.budget_percent.value = _RETRY_BUDGET_PERCENT
    limits.retry_budget.min_retry_concurrency.value = _RETRIES_MIN
    options = http_protocol_options_pb2.HttpProtocolOptions()
    if service.protocol is Protocol.HTTP1:
        options.explicit_http_config.http_protocol_options.SetInParent()
    else:
        options.explicit_http_config.http2_protocol_options.SetInParent()
    options.common_http_protocol_options.idle_timeout.FromTimedelta(timedelta(seconds=60))
    out.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(any_of(options))
    return resource(TypeUrl.CLUSTER, service.name, serialize(out))


def endpoints(service: str, members: Sequence[Endpoint]) -> Resource:
    """The load assignment of *service*; an empty one ends a cluster's warming too."""
    out = endpoint_pb2.ClusterLoadAssignment(cluster_name=service)
    if members:
        group = out.endpoints.add()
        for member in members:
            item = group.lb_endpoints.add()
            item.endpoint.address.CopyFrom(address(member.address))
            item.load_balancing_weight.value = member.weight
            if not member.healthy:
                item.health_status = health_check_pb2.DRAINING
    return resource(TypeUrl.ENDPOINTS, service, serialize(out))


def address(place: Address) -> address_pb2.Address:
    """*place* as Envoy writes it."""
    host = place.host
    try:
        ipaddress.ip_address(host)
    except ValueError:
        host = socket.gethostbyname(host)
    out = address_pb2.Address()
    out.socket_address.address = host
    out.socket_address.port_value = place.port
    return out
