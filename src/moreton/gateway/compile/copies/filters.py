"""What shows requests and answers to the collector: two filters, an access log, and its cluster.

Nobody waits for the collector, and nothing depends on it: one that is dead, frozen or flooded costs
samples alone.

- A script lays what is shown beside its request (`show.lua`), and the access log takes it along, of
  several requests at once and over one stream that stays: a stream for each cost twice as much.
- What the collector does not take stays in a buffer of a named size; beyond it samples are dropped
  and counted (`access_logs.grpc_access_log.logs_dropped`).
- It is asked every half second whether it lives: a frozen one loses its stream, and what was
  kept for it is let go.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import config_source_pb2, extension_pb2
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import (
    header_mutation_pb2 as early_pb2,
)
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from moreton.envoy.core.copies import (
    ANSWER,
    BODY_BYTES_MAX,
    DRY_RUN_HEADER,
    EFFECTS_HEADER,
    PLACE,
)
from moreton.envoy.core.resources import Resource, ResourceKey, TypeUrl
from moreton.envoy.messages import any_of, extension, resource
from moreton.envoy.wire import serialize

# No service can be called this: names begin with a letter or a digit.
COPIES = PLACE
STRIP = "_copies/strip"
COPIES_KEY = ResourceKey(TypeUrl.CLUSTER, COPIES)
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_KEPT = f"local BODY_BYTES_MAX = {BODY_BYTES_MAX}\n"
_SCRIPT = _KEPT + Path(__file__).with_name("show.lua").read_text("utf-8")
_CONNECT_TIMEOUT = timedelta(milliseconds=250)
_ALIVE_EVERY = timedelta(milliseconds=500)
# A sample is on its way after this, or once there are so many bytes of them.
_SHOWN_EVERY = timedelta(milliseconds=100)
# Each message costs some hundred microseconds, however much it holds.
_BUFFER_BYTES = 256 * 1024
# Of those that are on their way; a collector that stands still for a moment loses none.
_HELD_BYTES = 1024 * 1024


def copy_slots() -> list[manager_pb2.HttpFilter]:
    """The last filters of a listener before the router; routes that are copied turn them on.

    The first sees answers last: it takes out what the application said to the second.
    """
    strip = header_mutation_pb2.HeaderMutation()
    strip.mutations.response_mutations.add(remove=EFFECTS_HEADER)
    first = manager_pb2.HttpFilter(name=STRIP, disabled=True)
    first.typed_config.CopyFrom(any_of(strip))
    second = manager_pb2.HttpFilter(name=COPIES, disabled=True)
    showing = lua_pb2.Lua()
    showing.default_source_code.inline_string = _SCRIPT
    second.typed_config.CopyFrom(any_of(showing))
    return [first, second]


def nobody_asks() -> extension_pb2.TypedExtensionConfig:
    """Takes out what someone outside asks an agent, before any route is chosen.

    Here, by comparing names, and not among a route's headers to remove: that looks names up, for
    which Envoy 1.40 first makes a table of each request's headers (counted: 3,800 instructions
    of 169,000 that a small request takes; this takes 900).
    """
    out = early_pb2.HeaderMutation()
    for name in (EFFECTS_HEADER, DRY_RUN_HEADER):
        out.mutations.add().remove_on_match.key_matcher.exact = name
    return extension("nobody_asks", out)


def copies_cluster(socket: str) -> Resource:
    """The cluster of the collector that listens at the Unix socket *socket*."""
    out = cluster_pb2.Cluster(name=COPIES, type=cluster_pb2.Cluster.STATIC)
    out.connect_timeout.FromTimedelta(_CONNECT_TIMEOUT)
    out.per_connection_buffer_limit_bytes.value = _BUFFER_BYTES
    out.load_assignment.cluster_name = COPIES
    place = out.load_assignment.endpoints.add().lb_endpoints.add().endpoint
    place.address.pipe.path = socket
    options = http_protocol_options_pb2.HttpProtocolOptions()
    http2 = options.explicit_http_config.http2_protocol_options
    # It bounds also what is kept of a stream that nobody reads; by default 16 MiB.
    http2.initial_stream_window_size.value = _HELD_BYTES
    # The other codec makes frames of 16 KiB whatever the collector takes, and copies each.
    http2.use_oghttp2_codec.value = True
    http2.connection_keepalive.interval.FromTimedelta(_ALIVE_EVERY)
    http2.connection_keepalive.timeout.FromTimedelta(_ALIVE_EVERY)
    out.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(any_of(options))
    return resource(TypeUrl.CLUSTER, COPIES, serialize(out))


def copies_log() -> accesslog_pb2.AccessLog:
    """Takes to the collector what the script has laid beside requests."""
    shown = als_pb2.HttpGrpcAccessLogConfig()
    common = shown.common_config
    common.log_name = COPIES
    common.transport_api_version = config_source_pb2.V3
    common.grpc_service.envoy_grpc.cluster_name = COPIES
    common.buffer_flush_interval.FromTimedelta(_SHOWN_EVERY)
    common.buffer_size_bytes.value = _BUFFER_BYTES
    out = accesslog_pb2.AccessLog(name=COPIES)
    out.typed_config.CopyFrom(any_of(shown))
    only = out.filter.metadata_filter
    only.matcher.filter = COPIES
    only.matcher.path.add(key=ANSWER)
    only.matcher.value.present_match = True
    only.match_if_key_not_found.SetInParent()
    return out
