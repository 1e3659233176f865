"""What each destination of a route answers, counted apart from its other routes.

Envoy counts what a cluster answers under a second name when a request has its own header for it:
`cluster.<service>.route.<route>.upstream_rq_*`, counters and times alike. The header is set inside
the proxy and taken away by its router; a client's own is removed at the edge.

Source: Envoy, "Router: HTTP headers consumed", x-envoy-upstream-alt-stat-name.
"""

from __future__ import annotations

import re

from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)

from moreton.envoy.messages import any_of

COUNT_FILTER = "count"
_HEADER = "x-envoy-upstream-alt-stat-name"


def count_slot() -> manager_pb2.HttpFilter:
    """The place of the counting among the filters; a route under way turns it on for itself."""
    out = manager_pb2.HttpFilter(name=COUNT_FILTER, disabled=True)
    out.typed_config.CopyFrom(any_of(header_mutation_pb2.HeaderMutation()))
    return out


def count_route(route: str) -> header_mutation_pb2.HeaderMutationPerRoute:
    """What turns it on for *route*."""
    out = header_mutation_pb2.HeaderMutationPerRoute()
    header = base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=_HEADER, value=f"route.{route}"),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    out.mutations.request_mutations.add().append.CopyFrom(header)
    return out


def counted_name(service: str, route: str) -> str:
    """Where Envoy counts what *service* answers to *route*; `completed` and so on follow."""
    return f"cluster.{service}.route.{route}.upstream_rq_"


def counted_pattern(services: tuple[str, str], route: str) -> str:
    """A regex that begins the names of what either of *services* answers to *route*."""
    either = "|".join(re.escape(each) for each in services)
    return rf"^cluster\.({either})\.route\.{re.escape(route)}\.upstream_rq_"
