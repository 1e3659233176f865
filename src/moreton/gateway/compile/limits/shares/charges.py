"""A proxy's shares of limits, as what its buckets charge for a request.

The bucket of a shared limit is that of the whole limit, in small units. A proxy that has half of
the limit charges two requests' worth of them for each. So a share changes without a new bucket: a
new one would be full, and let a burst pass each time. Filters before the buckets note the charges
in the state of each request; they remember nothing, and can be replaced at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil, isinf

from envoy.config.core.v3 import extension_pb2
from envoy.config.route.v3 import route_components_pb2 as routes_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)
from envoy.type.v3 import token_bucket_pb2

from moreton.envoy.core.resources import Resource, TypeUrl
from moreton.envoy.messages import any_of, over_ads, resource
from moreton.envoy.wire import serialize

# What a request is charged is text in its state: as a number in its metadata it costs a fifth more.
_TEXT = "envoy.string"
_CONFIG_TYPE = f"type.googleapis.com/{set_filter_state_pb2.Config.DESCRIPTOR.full_name}"
# One request of the whole limit costs so much: a share is exact to a tenth of a percent.
UNITS = 1000
# What Envoy takes as the charge for one request, at most; no bucket holds more.
CHARGE_MAX = 1_000_000_000


def units_of(tokens: int) -> int:
    """Into how many units a token is divided in a bucket of *tokens*, so that Envoy can count."""
    return max(1, min(UNITS, CHARGE_MAX // max(1, tokens)))


def in_units(bucket: token_bucket_pb2.TokenBucket, units: int) -> token_bucket_pb2.TokenBucket:
    """*bucket* with its tokens divided into *units* each."""
    out = token_bucket_pb2.TokenBucket()
    out.CopyFrom(bucket)
    out.max_tokens = bucket.max_tokens * units
    out.tokens_per_fill.value = bucket.tokens_per_fill.value * units
    return out


def charge_format(rule: str) -> str:
    """Where a bucket finds what *rule* charges for a request."""
    return f"%FILTER_STATE({_state(rule)}:PLAIN)%"


def charge(share: float, units: int, cost: int = 1) -> int:
    """What a request of *cost* is charged by who has *share* of the limit.

    Never too little: shares are not exceeded. 0 lets nothing pass; without bound is the least
    charge there is, with which so many times the limit passes as a token has units.
    """
    if isinf(share):
        return 1
    whole = units * cost
    return CHARGE_MAX if share * CHARGE_MAX <= whole else max(1, ceil(whole / share - 1e-9))


def kept_name(gateway: str) -> str:
    """The resource with the charges that hold until others are told."""
    return f"charges/{gateway}"


def lent_name(gateway: str) -> str:
    """The resource with the charges that a proxy forgets unless they are told again in time."""
    return f"lent-charges/{gateway}"


def charge_slots(gateway: str) -> list[manager_pb2.HttpFilter]:
    """The filters of a listener that note the charges, the lent ones last; off unless turned on."""
    return [_slot(kept_name(gateway)), _slot(lent_name(gateway))]


def charges(
    gateway: str, kept: Mapping[str, int], lent: Mapping[str, int], seconds: float
) -> list[Resource]:
    """The resources with the charges of rules: those *lent* are forgotten after *seconds*."""
    lending = _noting(lent_name(gateway), lent)
    return [
        _noting(kept_name(gateway), kept),
        replace(lending, seconds=seconds) if lent else lending,
    ]


def turned_on(gateway: str, *, kept: bool, lent: bool) -> bytes:
    """The part of a `RouteConfiguration` that turns on what notes charges *kept*, and *lent*."""
    out = route_pb2.RouteConfiguration()
    on = routes_pb2.FilterConfig()
    on.config.SetInParent()
    for name, wanted in ((kept_name(gateway), kept), (lent_name(gateway), lent)):
        if wanted:
            out.typed_per_filter_config[name].CopyFrom(any_of(on))
    return serialize(out)


def _slot(name: str) -> manager_pb2.HttpFilter:
    out = manager_pb2.HttpFilter(name=name, disabled=True)
    over_ads(out.config_discovery.config_source)
    out.config_discovery.type_urls.append(_CONFIG_TYPE)
    out.config_discovery.default_config.CopyFrom(any_of(set_filter_state_pb2.Config()))
    return out


def _noting(name: str, values: Mapping[str, int]) -> Resource:
    config = set_filter_state_pb2.Config()
    for rule, value in sorted(values.items()):
        noted = config.on_request_headers.add(object_key=_state(rule), factory_key=_TEXT)
        noted.format_string.text_format_source.inline_string = str(value)
    out = extension_pb2.TypedExtensionConfig(name=name, typed_config=any_of(config))
    return resource(TypeUrl.EXTENSION, name, serialize(out))


def _state(rule: str) -> str:
    return f"charge.{rule}"
