"""What shows requests and answers to the collector: two filters, and its cluster.

Nobody waits for the collector, and nothing depends on it: one that is dead, frozen or flooded costs
samples alone.

- Its streams are bounded by number; those beyond are not opened, and the request goes on.
- It is asked every half second whether it lives: a frozen one loses its streams, and what was
  kept for them is let go.
- A stream that it does not read must not hold up the answer that it is a copy of. Envoy 1.40 does
  just that, unless `FLOW_CONTROL` is off (measured: an answer of 1 MB stood still for as long as
  the collector was frozen).
"""

from __future__ import annotations

from datetime import timedelta

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import extension_pb2
from envoy.extensions.filters.http.ext_proc.v3 import ext_proc_pb2, processing_mode_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import (
    header_mutation_pb2 as early_pb2,
)
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from moreton.envoy.core.copies import DRY_RUN_HEADER, EFFECTS_HEADER
from moreton.envoy.core.resources import Resource, ResourceKey, TypeUrl
from moreton.envoy.messages import any_of, extension, resource
from moreton.envoy.wire import serialize

# No service can be called this: names begin with a letter or a digit.
COPIES = "_copies"
STRIP = "_copies/strip"
COPIES_KEY = ResourceKey(TypeUrl.CLUSTER, COPIES)
FLOW_CONTROL = "envoy.reloadable_features.grpc_side_stream_flow_control"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
# A stream lives from a request's first byte to its answer's last, and a moment longer.
_STREAMS_MAX = 256
_CONNECT_TIMEOUT = timedelta(milliseconds=250)
_ALIVE_EVERY = timedelta(milliseconds=500)
# For what is still on its way to the collector when the answer is through; it closes before.
_CLOSE_TIMEOUT = timedelta(milliseconds=200)
_BUFFER_BYTES = 64 * 1024


def copy_slots() -> list[manager_pb2.HttpFilter]:
    """The last filters of a listener before the router; routes that are copied turn them on.

    The first sees answers last: it takes out what the application said to the second.
    """
    strip = header_mutation_pb2.HeaderMutation()
    strip.mutations.response_mutations.add(remove=EFFECTS_HEADER)
    first = manager_pb2.HttpFilter(name=STRIP, disabled=True)
    first.typed_config.CopyFrom(any_of(strip))
    second = manager_pb2.HttpFilter(name=COPIES, disabled=True)
    second.typed_config.CopyFrom(any_of(_showing()))
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
    bound = out.circuit_breakers.thresholds.add()
    bound.max_requests.value = bound.max_pending_requests.value = _STREAMS_MAX
    options = http_protocol_options_pb2.HttpProtocolOptions()
    http2 = options.explicit_http_config.http2_protocol_options
    http2.connection_keepalive.interval.FromTimedelta(_ALIVE_EVERY)
    http2.connection_keepalive.timeout.FromTimedelta(_ALIVE_EVERY)
    out.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(any_of(options))
    return resource(TypeUrl.CLUSTER, COPIES, serialize(out))


def processing_mode(*, bodies: bool) -> processing_mode_pb2.ProcessingMode:
    """What is shown: heads, the answer's body, and the request's where *bodies* are wanted."""
    mode = processing_mode_pb2.ProcessingMode
    return mode(
        request_header_mode=mode.SEND,
        response_header_mode=mode.SEND,
        request_body_mode=mode.STREAMED if bodies else mode.NONE,
        response_body_mode=mode.STREAMED,
        request_trailer_mode=mode.SKIP,
        response_trailer_mode=mode.SKIP,
    )


def _showing() -> ext_proc_pb2.ExternalProcessor:
    out = ext_proc_pb2.ExternalProcessor(observability_mode=True, failure_mode_allow=True)
    out.grpc_service.envoy_grpc.cluster_name = COPIES
    out.deferred_close_timeout.FromTimedelta(_CLOSE_TIMEOUT)
    out.response_attributes.append("xds.cluster_name")
    out.processing_mode.CopyFrom(processing_mode(bodies=False))
    return out
