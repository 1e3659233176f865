"""A gateway's listeners with Envoy's edge hardening, and its secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import protocol_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.trace.v3 import http_tracer_pb2, opentelemetry_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2
from envoy.service.runtime.v3 import rtds_pb2

from moreton.envoy.core.resources import Resource, TypeUrl
from moreton.envoy.wire import serialize
from moreton.gateway.compile.actions import any_of
from moreton.gateway.compile.services import address, resource
from moreton.gateway.core.model import Gateway, Listener

_BUFFER_BYTES = 32 * 1024
_IDLE = timedelta(hours=1)
_STREAM_IDLE = timedelta(minutes=5)
_HEADERS_TIMEOUT = timedelta(seconds=10)
_H2_STREAMS = 100
_H2_STREAM_WINDOW = 64 * 1024
_H2_CONNECTION_WINDOW = 1024 * 1024
_LOG_FIELDS = {
    "time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(:PATH)%",
    "host": "%REQ(:AUTHORITY)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
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
    """Spans go to *service* (OTLP over gRPC); *share* in [0, 1] of the requests."""

    service: str
    share: float = 1.0


def listeners(gateway: Gateway, tracing: Tracing | None) -> list[Resource]:
    """The listeners of *gateway*, and the secrets that they need."""
    out: list[Resource] = []
    for number, listener in enumerate(gateway.listeners):
        message = listener_pb2.Listener(name=f"{gateway.name}/{number}")
        message.address.CopyFrom(address(listener.address))
        message.per_connection_buffer_limit_bytes.value = _BUFFER_BYTES
        message.stat_prefix = gateway.name
        chain = message.filter_chains.add()
        manager = _manager(gateway, tracing)
        chain.filters.add(name="http").typed_config.CopyFrom(any_of(manager))
        if listener.tls is not None:
            out.append(_secret(listener))
            chain.transport_socket.name = "tls"
            chain.transport_socket.typed_config.CopyFrom(any_of(_tls(out[-1].key.name)))
        out.append(resource(TypeUrl.LISTENER, message.name, serialize(message)))
    return out


def _manager(gateway: Gateway, tracing: Tracing | None) -> manager_pb2.HttpConnectionManager:
    out = manager_pb2.HttpConnectionManager(stat_prefix=gateway.name)
    out.rds.route_config_name = gateway.name
    out.rds.config_source.ads.SetInParent()
    out.rds.config_source.resource_api_version = 2
    out.use_remote_address.value = True
    out.xff_num_trusted_hops = gateway.trusted_proxies
    out.normalize_path.value = True
    out.merge_slashes = True
    out.path_with_escaped_slashes_action = out.UNESCAPE_AND_REDIRECT
    out.strip_any_host_port = True
    out.server_header_transformation = out.PASS_THROUGH
    out.common_http_protocol_options.idle_timeout.FromTimedelta(_IDLE)
    out.common_http_protocol_options.headers_with_underscores_action = (
        protocol_pb2.HttpProtocolOptions.REJECT_REQUEST
    )
    out.stream_idle_timeout.FromTimedelta(_STREAM_IDLE)
    out.request_headers_timeout.FromTimedelta(_HEADERS_TIMEOUT)
    h2 = out.http2_protocol_options
    h2.max_concurrent_streams.value = _H2_STREAMS
    h2.initial_stream_window_size.value = _H2_STREAM_WINDOW
    h2.initial_connection_window_size.value = _H2_CONNECTION_WINDOW
    out.upgrade_configs.add(upgrade_type="websocket")
    out.http_filters.add(name="cors").typed_config.CopyFrom(any_of(cors_pb2.Cors()))
    router = router_pb2.Router(suppress_envoy_headers=True)
    out.http_filters.add(name="router").typed_config.CopyFrom(any_of(router))
    if gateway.access_log is not None:
        out.access_log.append(_access_log(gateway.access_log))
    if tracing is not None:
        out.tracing.CopyFrom(_tracing(tracing, gateway.name))
    return out


def _access_log(path: str) -> accesslog_pb2.AccessLog:
    target = "/dev/stdout" if path == "stdout" else path
    log = file_pb2.FileAccessLog(path=target)
    log.log_format.json_format.update(_LOG_FIELDS)
    out = accesslog_pb2.AccessLog(name="file")
    out.typed_config.CopyFrom(any_of(log))
    return out


def _tracing(tracing: Tracing, name: str) -> manager_pb2.HttpConnectionManager.Tracing:
    config = opentelemetry_pb2.OpenTelemetryConfig(service_name=name)
    config.grpc_service.envoy_grpc.cluster_name = tracing.service
    out = manager_pb2.HttpConnectionManager.Tracing()
    out.random_sampling.value = tracing.share * 100
    provider = http_tracer_pb2.Tracing.Http(name="envoy.tracers.opentelemetry")
    provider.typed_config.CopyFrom(any_of(config))
    out.provider.CopyFrom(provider)
    return out


def _tls(secret: str) -> tls_pb2.DownstreamTlsContext:
    out = tls_pb2.DownstreamTlsContext()
    common = out.common_tls_context
    common.alpn_protocols.extend(["h2", "http/1.1"])
    common.tls_params.tls_minimum_protocol_version = tls_pb2.TlsParameters.TLSv1_2
    sds = common.tls_certificate_sds_secret_configs.add(name=secret)
    sds.sds_config.ads.SetInParent()
    sds.sds_config.resource_api_version = 2
    return out


def _secret(listener: Listener) -> Resource:
    assert listener.tls is not None
    out = secret_pb2.Secret(name=listener.tls.certificate)
    certificate = Path(listener.tls.certificate).read_text()
    out.tls_certificate.certificate_chain.inline_string = certificate
    out.tls_certificate.private_key.inline_string = Path(listener.tls.key).read_text()
    return resource(TypeUrl.SECRET, out.name, serialize(out))


def runtime(weights: Mapping[str, Mapping[str, int]], prefix: str) -> bytes:
    """The body of the `Runtime` resource that carries every route's weights."""
    out = rtds_pb2.Runtime(name="weights")
    for route, shares in sorted(weights.items()):
        for service, weight in sorted(shares.items()):
            out.layer[f"{prefix}.{route}.{service}"] = weight
    return serialize(out)
