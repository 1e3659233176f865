"""The route before a route: it takes the share of its requests that is shown to the collector."""

from __future__ import annotations

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2 as routes_pb2

from moreton.envoy.core.copies import (
    ASK,
    ASK_WRITES,
    COPY_HEADER,
    EFFECTS_HEADER,
    asks,
)
from moreton.envoy.messages import any_of
from moreton.envoy.wire import serialize
from moreton.gateway.compile.copies.filters import COPIES, STRIP
from moreton.gateway.compile.matches import one_of
from moreton.gateway.core.model import Copies


def share_key(route: str) -> str:
    """The runtime key of the share of *route*'s requests that is shown."""
    return f"copies.{route}:share"


def copied_match(route: str, copies: Copies) -> bytes:
    """The part of a `RouteMatch` that takes the share; nothing that is a copy itself."""
    out = routes_pb2.RouteMatch()
    out.runtime_fraction.runtime_key = share_key(route)
    # Nothing for a proxy that has no control plane yet: nobody knows whether somebody looks.
    out.runtime_fraction.default_value.denominator = 2  # of a million
    if copies.methods:
        one_of(out.headers.add(name=":method").string_match, copies.methods)
    out.headers.add(name=COPY_HEADER, present_match=True, invert_match=True)
    return serialize(out)


def copied_extras(copies: Copies) -> bytes:
    """The part of a `Route` that shows its requests and answers."""
    out = routes_pb2.Route()
    on = routes_pb2.FilterConfig()
    on.config.SetInParent()
    out.typed_per_filter_config[COPIES].CopyFrom(any_of(on))
    if copies.asks:
        ask = out.request_headers_to_add.add()
        ask.header.key, ask.header.value = EFFECTS_HEADER, _asked(copies)
        ask.append_action = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
        out.typed_per_filter_config[STRIP].CopyFrom(any_of(on))
    return serialize(out)


def _asked(copies: Copies) -> str:
    return asks(ASK_WRITES, copies.key) if copies.key else ASK
