"""The HTTP side of a listener: Envoy's edge hardening, filters, access log, tracing.

Source: Envoy, "Configuring Envoy as an edge proxy".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import protocol_pb2
from envoy.config.trace.v3 import opentelemetry_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)

from moreton.envoy.core.resources import Resource, TypeUrl
from moreton.envoy.messages import any_of, is_ip_address, over_ads, resource, socket_address
from moreton.envoy.wire import serialize
from moreton.gateway.compile.copies.filters import copies_log, copy_slots, nobody_asks
from moreton.gateway.compile.limits.answers import add_local_replies
from moreton.gateway.compile.limits.chain import slots
from moreton.gateway.compile.limits.shares.charges import charge_slots
from moreton.gateway.compile.moving.counting import count_slot
from moreton.gateway.compile.policies import CORS_FILTER
from moreton.gateway.core.model import Gateway

# No service can be called this: names begin with a letter or a digit.
COLLECTOR = "_otlp"
_IDLE = timedelta(hours=1)
# Of a request whose route is not known yet: its head must have come. Envoy starts this clock with
# the request; a route has a longer one from then on. Envoy's `request_headers_timeout` would be a
# second clock for each request (counted: 2,100 instructions of 169,000).
_HEAD_TIMEOUT = timedelta(seconds=10)
_EXPORT_TIMEOUT = timedelta(seconds=5)
_H2_STREAMS = 100
_H2_STREAM_WINDOW = 64 * 1024
_H2_CONNECTION_WINDOW = 1024 * 1024
_LOG_FIELDS = {
    "time": "%START_TIME%",
    "gateway": "",  # the gateway's name
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "host": "%REQ(:AUTHORITY)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "route": "%ROUTE_NAME%",
    "service": "%UPSTREAM_CLUSTER%",
    "instance": "%UPSTREAM_HOST%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "trace": "%TRACE_ID%",
    "user_agent": "%REQ(USER-AGENT)%",
}


@dataclass(frozen=True, slots=True)
class Tracing:
    """Spans of a *share* in [0, 1] of the requests go to the OTLP/HTTP receiver at *otlp*.

    A caller that sends a W3C `traceparent` decides for its request. `http://host:4318` means its
    path `/v1/traces`.
    """

    otlp: str
    share: float = 1.0


def manager(gateway: Gateway, tracing: Tracing | None) -> manager_pb2.HttpConnectionManager:
    """What turns *gateway*'s connections into requests, and finds them their routes."""
    out = manager_pb2.HttpConnectionManager(stat_prefix=gateway.name)
    out.rds.route_config_name = gateway.name
    over_ads(out.rds.config_source)
    _trust(out, gateway)
    out.early_header_mutation_extensions.append(nobody_asks())
    _normalize(out)
    _limit(out)
    out.server_header_transformation = out.PASS_THROUGH
    out.always_set_request_id_in_response = True
    out.upgrade_configs.add(upgrade_type="websocket")
    # A route that has CORS turns the filter on for itself; the others do not pass through it.
    cors = out.http_filters.add(name=CORS_FILTER, disabled=True)
    cors.typed_config.CopyFrom(any_of(cors_pb2.Cors()))
    out.http_filters.append(count_slot())
    # After CORS, so that a browser's script can read that it was refused.
    out.http_filters.extend([*charge_slots(gateway.name), *slots(gateway.name)])
    add_local_replies(out)
    # After the limits: what they refuse nobody compares.
    out.http_filters.extend(copy_slots())
    # Last: it sends the request on. Clients and applications see nothing of Envoy.
    router = router_pb2.Router(suppress_envoy_headers=True)
    out.http_filters.add(name="router").typed_config.CopyFrom(any_of(router))
    out.access_log.append(copies_log())
    if gateway.access_log is not None:
        out.access_log.append(_access_log(gateway.name, gateway.access_log))
    if tracing is not None:
        out.tracing.CopyFrom(_tracing(tracing, gateway.name))
    return out


def collector(tracing: Tracing) -> Resource:
    """The cluster of the OTLP receiver, which Envoy resolves itself."""
    parts = urlsplit(tracing.otlp)
    host = parts.hostname or "127.0.0.1"
    kind = cluster_pb2.Cluster.STATIC if is_ip_address(host) else cluster_pb2.Cluster.STRICT_DNS
    out = cluster_pb2.Cluster(name=COLLECTOR, type=kind)
    out.dns_lookup_family = cluster_pb2.Cluster.ALL
    out.connect_timeout.FromTimedelta(_EXPORT_TIMEOUT)
    out.load_assignment.cluster_name = COLLECTOR
    place = out.load_assignment.endpoints.add().lb_endpoints.add().endpoint
    place.address.CopyFrom(socket_address(host, parts.port or 4318))
    return resource(TypeUrl.CLUSTER, COLLECTOR, serialize(out))


def _trust(out: manager_pb2.HttpConnectionManager, gateway: Gateway) -> None:
    """Who the client is, and that its `x-envoy-` headers are no orders, wherever it calls from."""
    out.use_remote_address.value = True
    out.xff_num_trusted_hops = gateway.trusted_proxies
    # Without a range Envoy takes all private addresses for insiders; this one is nobody's.
    nobody = out.internal_address_config.cidr_ranges.add(address_prefix="255.255.255.255")
    nobody.prefix_len.value = 32


def _normalize(out: manager_pb2.HttpConnectionManager) -> None:
    """One path for one thing, so that no spelling of it gets around a route."""
    out.normalize_path.value = True
    out.merge_slashes = True
    out.path_with_escaped_slashes_action = out.UNESCAPE_AND_REDIRECT
    out.strip_trailing_host_dot = True


def _limit(out: manager_pb2.HttpConnectionManager) -> None:
    common = out.common_http_protocol_options
    common.idle_timeout.FromTimedelta(_IDLE)
    common.headers_with_underscores_action = protocol_pb2.HttpProtocolOptions.REJECT_REQUEST
    out.stream_idle_timeout.FromTimedelta(_HEAD_TIMEOUT)
    http2 = out.http2_protocol_options
    http2.max_concurrent_streams.value = _H2_STREAMS
    http2.initial_stream_window_size.value = _H2_STREAM_WINDOW
    http2.initial_connection_window_size.value = _H2_CONNECTION_WINDOW


def _access_log(gateway: str, path: str) -> accesslog_pb2.AccessLog:
    log = file_pb2.FileAccessLog(path="/dev/stdout" if path == "stdout" else path)
    fields = log.log_format.json_format
    fields.update({**_LOG_FIELDS, "gateway": gateway.replace("%", "%%")})
    out = accesslog_pb2.AccessLog(name="file")
    out.typed_config.CopyFrom(any_of(log))
    return out


def _tracing(tracing: Tracing, name: str) -> manager_pb2.HttpConnectionManager.Tracing:
    parts = urlsplit(tracing.otlp)
    config = opentelemetry_pb2.OpenTelemetryConfig(service_name=name)
    uri = config.http_service.http_uri
    path = parts.path if parts.path not in {"", "/"} else "/v1/traces"
    uri.uri = f"http://{parts.netloc}{path}"
    uri.cluster = COLLECTOR
    uri.timeout.FromTimedelta(_EXPORT_TIMEOUT)
    out = manager_pb2.HttpConnectionManager.Tracing()
    out.random_sampling.value = tracing.share * 100
    out.spawn_upstream_span.value = True
    out.provider.name = "envoy.tracers.opentelemetry"
    out.provider.typed_config.CopyFrom(any_of(config))
    return out
