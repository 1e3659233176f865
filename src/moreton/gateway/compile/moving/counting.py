"""What each destination of a route answers, counted apart; and how long its silence may last.

Envoy counts what a cluster answers under a second name when a request has its own header for it:
`cluster.<service>.route.<route>.upstream_rq_*`, counters and times alike. The header is set inside
the proxy and taken away by its router; a client's own is removed at the edge.

A destination that takes requests and never answers would be counted nowhere. For its share of the
requests another such header bounds the time from their end to the first byte of an answer, not to
its last: streams, downloads and WebSockets go on, and uploads take as long as they take.

Source: Envoy, "Router: HTTP headers consumed", x-envoy-upstream-alt-stat-name and
x-envoy-upstream-rq-per-try-timeout-ms.
"""

from __future__ import annotations

import re
from datetime import timedelta

from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)

from moreton.envoy.messages import any_of

COUNT_FILTER = "count"
_NAME = "x-envoy-upstream-alt-stat-name"
_SILENCE = "x-envoy-upstream-rq-per-try-timeout-ms"
_MILLISECOND = timedelta(milliseconds=1)


def count_slot() -> manager_pb2.HttpFilter:
    """The place of the counting among the filters; a route under way turns it on for itself."""
    out = manager_pb2.HttpFilter(name=COUNT_FILTER, disabled=True)
    out.typed_config.CopyFrom(any_of(header_mutation_pb2.HeaderMutation()))
    return out


def count_route(route: str) -> header_mutation_pb2.HeaderMutationPerRoute:
    """What turns it on for *route*."""
    return _with_header(_NAME, f"route.{route}")


def bound_silence(within: timedelta) -> header_mutation_pb2.HeaderMutationPerRoute:
    """What has a destination of a route that is counted begin to answer *within* so long."""
    return _with_header(_SILENCE, str(max(1, within // _MILLISECOND)))


def counted_name(service: str, route: str) -> str:
    """Where Envoy counts what *service* answers to *route*; `completed` and so on follow."""
    return f"cluster.{service}.route.{route}.upstream_rq_"


def _with_header(name: str, value: str) -> header_mutation_pb2.HeaderMutationPerRoute:
    out = header_mutation_pb2.HeaderMutationPerRoute()
    header = base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=name, value=value),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    out.mutations.request_mutations.add().append.CopyFrom(header)
    return out


def counted_pattern(services: tuple[str, str], route: str) -> str:
    """A regex that begins the names of what either of *services* answers to *route*."""
    either = "|".join(re.escape(each) for each in services)
    return rf"^cluster\.({either})\.route\.{re.escape(route)}\.upstream_rq_"
