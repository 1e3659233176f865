"""The configuration that an Envoy starts with: where its control plane is, and its own limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

XDS_CLUSTER = "moreton_xds"
_RECONNECT_BASE = "0.05s"
_RECONNECT_MAX = "0.25s"
_HEAP_BYTES_MAX = 2 * 1024 * 1024 * 1024
_CONNECTIONS_MAX = 50_000
# Statistics of each cluster that nothing reads: 1,000 services would carry them for nothing.
_UNREAD_SUFFIXES = (
    ".external.upstream_rq_time",
    ".internal.upstream_rq_time",
    ".upstream_cx_length_ms",
    ".upstream_cx_connect_ms",
)
_UNREAD_PREFIXES = ("vhost.",)
_V3 = "V3"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def dynamic_bootstrap(
    *,
    node: str,
    group: str,
    xds_socket: Path,
    admin_socket: Path,
    heap_bytes_max: int = _HEAP_BYTES_MAX,
    connections_max: int = _CONNECTIONS_MAX,
) -> Any:
    """A bootstrap, as JSON, that takes everything from the control plane at *xds_socket*.

    The Envoy is ready only once it has been told everything: one that gave up waiting would serve
    nothing, and take over from one that does serve.
    """
    ads = {"ads": {}, "resource_api_version": _V3, "initial_fetch_timeout": "0s"}
    return {
        "node": {"id": node, "cluster": group},
        "admin": {"address": {"pipe": {"path": str(admin_socket), "mode": 0o600}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": _V3,
                "set_node_on_first_message_only": True,
                "grpc_services": [
                    {
                        "envoy_grpc": {
                            "cluster_name": XDS_CLUSTER,
                            "retry_policy": {
                                "retry_back_off": {
                                    "base_interval": _RECONNECT_BASE,
                                    "max_interval": _RECONNECT_MAX,
                                }
                            },
                        }
                    }
                ],
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        # A later layer wins: what an operator sets over the admin socket wins over all.
        "layered_runtime": {
            "layers": [
                {"name": "limits", "static_layer": {"re2.max_program_size.error_level": 1000}},
                {"name": "weights", "rtds_layer": {"name": "weights", "rtds_config": ads}},
                {"name": "admin", "admin_layer": {}},
            ]
        },
        "overload_manager": overload_manager(heap_bytes_max, connections_max),
        "stats_config": _stats_config(),
        # A service without traffic on this proxy costs it no statistics.
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
        "static_resources": {"clusters": [_xds_cluster(xds_socket)]},
    }


def overload_manager(
    heap_bytes_max: int = _HEAP_BYTES_MAX, connections_max: int = _CONNECTIONS_MAX
) -> Any:
    """Shed load before the heap is full; bound the connections. Source: Envoy's edge guide."""
    heap = "envoy.resource_monitors.fixed_heap"
    connections = "envoy.resource_monitors.global_downstream_max_connections"
    kinds = "type.googleapis.com/envoy.extensions.resource_monitors"
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {
                "name": heap,
                "typed_config": {
                    "@type": f"{kinds}.fixed_heap.v3.FixedHeapConfig",
                    "max_heap_size_bytes": heap_bytes_max,
                },
            },
            {
                "name": connections,
                "typed_config": {
                    "@type": f"{kinds}.downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": connections_max,
                },
            },
        ],
        "actions": [
            {
                "name": "envoy.overload_actions.shrink_heap",
                "triggers": [{"name": heap, "threshold": {"value": 0.95}}],
            },
            {
                "name": "envoy.overload_actions.stop_accepting_requests",
                "triggers": [{"name": heap, "threshold": {"value": 0.98}}],
            },
        ],
    }


def _stats_config() -> Any:
    suffixes = [{"suffix": suffix} for suffix in _UNREAD_SUFFIXES]
    prefixes = [{"prefix": prefix} for prefix in _UNREAD_PREFIXES]
    return {"stats_matcher": {"exclusion_list": {"patterns": suffixes + prefixes}}}


def _xds_cluster(socket: Path) -> Any:
    return {
        "name": XDS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
                "explicit_http_config": {
                    "http2_protocol_options": {
                        # A control plane that hangs is one that is gone.
                        "connection_keepalive": {"interval": "10s", "timeout": "5s"}
                    }
                },
            }
        },
        "load_assignment": {
            "cluster_name": XDS_CLUSTER,
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(socket)}}}}]}
            ],
        },
    }
