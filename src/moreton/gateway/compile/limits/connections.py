"""Rules on connections: how many come in a time, and how many are there; the rest are closed.

Both are kept before anything is read, so that a flood costs an accept and no more. A listener has
their places from the first day, as it has those of the other limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from envoy.config.core.v3 import config_source_pb2, extension_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.listener.local_ratelimit.v3 import local_ratelimit_pb2
from envoy.extensions.filters.network.connection_limit.v3 import connection_limit_pb2
from google.protobuf import any_pb2

from moreton.envoy.core.resources import Resource, TypeUrl
from moreton.envoy.messages import any_of, over_ads, resource
from moreton.envoy.wire import serialize
from moreton.gateway.compile.limits.buckets import bucket
from moreton.gateway.compile.limits.local import enabled_key
from moreton.gateway.core.limits import TOKENS_MAX, arrivals_name, connections_name
from moreton.kernel.quantities import parse_rate
from moreton.ratelimit.core.rules.bounds import RateBound, WorkBound
from moreton.ratelimit.core.rules.values import LimitRule, Mode

_ANY_RATE = RateBound(parse_rate("1000000/s"), TOKENS_MAX)


def add_places(listener: listener_pb2.Listener, gateway: str) -> None:
    """The places of both in *listener*, which has a filter chain."""
    arrivals = listener.listener_filters.add(name=arrivals_name(gateway))
    _discovered(arrivals.config_discovery, any_of(_arrivals(gateway, None)))
    for chain in listener.filter_chains:
        connections = chain.filters.add(name=connections_name(gateway))
        _discovered(connections.config_discovery, any_of(_connections(gateway, None)))


def connection_resources(gateway: str, rules: Iterable[LimitRule]) -> Iterator[Resource]:
    """What fills the places: of several *rules* the tightest of each kind that is enforced."""
    rates: list[tuple[bool, float, str, RateBound]] = []
    counts: list[tuple[bool, int, str]] = []
    for rule in rules:
        is_idle = rule.mode is not Mode.ENFORCE
        for bound in rule.bounds:
            if isinstance(bound, RateBound):
                rates.append((is_idle, bound.rate.per_second, rule.name, bound))
            elif isinstance(bound, WorkBound) and bound.count is not None:
                counts.append((is_idle, bound.count, rule.name))
    rate = min(rates, key=lambda one: one[:3], default=None)
    count = min(counts, default=None)
    yield _resource(arrivals_name(gateway), any_of(_arrivals(gateway, rate and rate[1:])))
    yield _resource(connections_name(gateway), any_of(_connections(gateway, count and count[1:])))


def _arrivals(
    gateway: str, told: tuple[float, str, RateBound] | None
) -> local_ratelimit_pb2.LocalRateLimit:
    out = local_ratelimit_pb2.LocalRateLimit(stat_prefix=arrivals_name(gateway))
    out.token_bucket.CopyFrom(bucket(_ANY_RATE if told is None else told[2]))
    out.runtime_enabled.default_value.value = False
    out.runtime_enabled.runtime_key = enabled_key("" if told is None else told[1])
    return out


def _connections(
    gateway: str, told: tuple[int, str] | None
) -> connection_limit_pb2.ConnectionLimit:
    out = connection_limit_pb2.ConnectionLimit(stat_prefix=connections_name(gateway))
    out.max_connections.value = TOKENS_MAX if told is None else told[0]
    out.runtime_enabled.default_value.value = False
    out.runtime_enabled.runtime_key = enabled_key("" if told is None else told[1])
    return out


def _discovered(out: config_source_pb2.ExtensionConfigSource, default: any_pb2.Any) -> None:
    over_ads(out.config_source)
    out.type_urls.append(default.type_url)
    out.default_config.CopyFrom(default)


def _resource(name: str, config: any_pb2.Any) -> Resource:
    out = extension_pb2.TypedExtensionConfig(name=name, typed_config=config)
    return resource(TypeUrl.EXTENSION, name, serialize(out))
