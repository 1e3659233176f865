"""Services as Envoy clusters, their endpoints as load assignments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache

from envoy.config.cluster.v3 import cluster_pb2, outlier_detection_pb2
from envoy.config.core.v3 import health_check_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from moreton.envoy.core.resources import Resource, TypeUrl
from moreton.envoy.messages import any_of, is_ip_address, over_ads, resource, socket_address
from moreton.envoy.wire import delimited, serialize
from moreton.gateway.core.model import Ejection, Endpoint, Protocol, Service

_CLUSTER = cluster_pb2.Cluster
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_BUFFER_BYTES = 32 * 1024  # Envoy's edge guide; its default of 1 MiB is for a mesh
# For small services, whose budget would round to nothing. Envoy's default is 3: too few where an
# instance dies, for then all that is under way there has to be asked again at the same moment.
_RETRIES_MIN = 20
# Below the least keep-alive of common Python servers (gunicorn: 2 s), so that the gateway and
# never the server ends an idle connection: a request must not meet a connection being closed.
_HTTP1_IDLE = timedelta(seconds=1.5)
_HTTP2_IDLE = timedelta(minutes=5)  # HTTP/2 says GOAWAY before it closes
_KEEPALIVE_SECONDS = 60
_KEEPALIVE_INTERVAL_SECONDS = 10
_KEEPALIVE_PROBES = 3
_CLUSTERS_REMEMBERED = 256
# Each rest of the same instance is longer by the first, up to this.
_REST_MAX = timedelta(seconds=60)


def is_resolved_by_envoy(service: Service) -> bool:
    """Whether *service* has addresses that are names: Envoy asks DNS, no one sends endpoints."""
    return not all(is_ip_address(address.host) for address in service.addresses)


def cluster(service: Service) -> Resource:
    """The cluster of *service*; its endpoints come apart, over ADS, unless Envoy resolves them."""
    body = delimited(_CLUSTER.NAME_FIELD_NUMBER, service.name.encode())
    body += _settings(
        service.connect_timeout,
        (service.max_connections, service.max_requests),
        service.retry_share,
        service.protocol,
        service.ejection,
    )
    if is_resolved_by_envoy(service):
        members = [Endpoint(address) for address in service.addresses]
        # Every address of a name is tried: `localhost` may be ::1 where nothing listens.
        out = _CLUSTER(type=_CLUSTER.STRICT_DNS, dns_lookup_family=_CLUSTER.ALL)
        out.load_assignment.CopyFrom(load_assignment(service.name, members))
    else:
        out = _CLUSTER(type=_CLUSTER.EDS)
        over_ads(out.eds_cluster_config.eds_config)
    return resource(TypeUrl.CLUSTER, service.name, body + serialize(out))


def endpoints(service: str, members: Sequence[Endpoint]) -> Resource:
    """The load assignment of *service*; an empty one ends a cluster's warming too."""
    body = serialize(load_assignment(service, members))
    return replace(resource(TypeUrl.ENDPOINTS, service, body), is_empty=not members)


def load_assignment(
    service: str, members: Sequence[Endpoint]
) -> endpoint_pb2.ClusterLoadAssignment:
    """Where *service* answers, whatever the order of *members*; the first of equals counts."""
    out = endpoint_pb2.ClusterLoadAssignment(cluster_name=service)
    by_place = {(one.address.host, one.address.port): one for one in reversed(members)}
    if by_place:
        group = out.endpoints.add()
        for place, member in sorted(by_place.items()):
            item = group.lb_endpoints.add()
            item.endpoint.address.CopyFrom(socket_address(*place))
            item.load_balancing_weight.value = member.weight
            if not member.healthy:
                item.health_status = health_check_pb2.DRAINING
    return out


@lru_cache(maxsize=_CLUSTERS_REMEMBERED)
def _settings(
    connect_timeout: timedelta,
    most: tuple[int, int],
    retry_share: float,
    protocol: Protocol,
    ejection: Ejection | None,
) -> bytes:
    """What services with equal settings have in common."""
    out = _CLUSTER(lb_policy=_CLUSTER.LEAST_REQUEST)
    out.connect_timeout.FromTimedelta(connect_timeout)
    out.per_connection_buffer_limit_bytes.value = _BUFFER_BYTES
    # Never to an instance that is known to be draining or down, however few are left.
    out.common_lb_config.healthy_panic_threshold.value = 0
    # An instance that went is gone at once, whatever was known of its health.
    out.ignore_health_on_host_removal = True
    keepalive = out.upstream_connection_options.tcp_keepalive
    keepalive.keepalive_time.value = _KEEPALIVE_SECONDS
    keepalive.keepalive_interval.value = _KEEPALIVE_INTERVAL_SECONDS
    keepalive.keepalive_probes.value = _KEEPALIVE_PROBES
    limits = out.circuit_breakers.thresholds.add()
    max_connections, max_requests = most
    limits.max_connections.value = max_connections
    limits.max_pending_requests.value = max_requests
    limits.max_requests.value = max_requests
    limits.retry_budget.budget_percent.value = retry_share * 100
    limits.retry_budget.min_retry_concurrency.value = _RETRIES_MIN
    out.outlier_detection.CopyFrom(_outlier_detection(ejection))
    options = any_of(_http_options(protocol))
    out.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(options)
    return serialize(out)


def _outlier_detection(ejection: Ejection | None) -> outlier_detection_pb2.OutlierDetection:
    """Mild: an instance rests when it cannot be reached or answers 502, 503, 504 in a row.

    A 500 does not count: it is an application's answer to a request. Never more than half of a
    service rests, so that one of two may and the only one never does.
    """
    out = outlier_detection_pb2.OutlierDetection(split_external_local_origin_errors=True)
    out.interval.FromTimedelta(timedelta(seconds=2))
    out.base_ejection_time.FromTimedelta(timedelta(seconds=5))
    out.max_ejection_time.FromTimedelta(_REST_MAX)
    out.max_ejection_time_jitter.FromTimedelta(timedelta(seconds=1))
    out.max_ejection_percent.value = 50
    out.always_eject_one_host.value = False
    out.consecutive_local_origin_failure.value = 5
    out.enforcing_consecutive_local_origin_failure.value = 100
    out.consecutive_gateway_failure.value = 10
    out.enforcing_consecutive_gateway_failure.value = 100
    out.enforcing_consecutive_5xx.value = 0
    out.enforcing_success_rate.value = 0
    out.enforcing_local_origin_success_rate.value = 0
    if ejection is not None:
        _add_ejection(out, ejection)
    return out


def _add_ejection(out: outlier_detection_pb2.OutlierDetection, ejection: Ejection) -> None:
    """Rest an instance by its share of failures, too; a 500 counts there."""
    out.interval.FromTimedelta(ejection.interval)
    out.base_ejection_time.FromTimedelta(ejection.rest)
    out.max_ejection_time.FromTimedelta(max(ejection.rest, _REST_MAX))
    out.max_ejection_time_jitter.FromTimedelta(ejection.jitter)
    out.failure_percentage_threshold.value = math.ceil(ejection.failure_rate * 100)
    out.failure_percentage_request_volume.value = ejection.minimum_requests
    out.failure_percentage_minimum_hosts.value = 1
    out.enforcing_failure_percentage.value = 100
    out.enforcing_failure_percentage_local_origin.value = 100


def _http_options(protocol: Protocol) -> http_protocol_options_pb2.HttpProtocolOptions:
    out = http_protocol_options_pb2.HttpProtocolOptions()
    if protocol is Protocol.HTTP1:
        out.explicit_http_config.http_protocol_options.SetInParent()
        out.common_http_protocol_options.idle_timeout.FromTimedelta(_HTTP1_IDLE)
    else:
        out.explicit_http_config.http2_protocol_options.SetInParent()
        out.common_http_protocol_options.idle_timeout.FromTimedelta(_HTTP2_IDLE)
    return out
