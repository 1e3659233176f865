"""The filters of a gateway's limits: resources that change without the listener.

A listener has slots that resources fill, from the first day: the first limit neither drains a
connection nor refuses a request. A change of any rule starts the buckets of its slot anew: those of
all rules that are for all routes, or those in the same place for some. Whether a rule acts, and for
which share of the requests, is a runtime value and starts nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from envoy.config.core.v3 import address_pb2, extension_pb2
from envoy.extensions.filters.http.ip_tagging.v3 import ip_tagging_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)

from moreton.envoy.core.resources import Resource, ResourceKey, TypeUrl
from moreton.envoy.messages import extension, over_ads, resource
from moreton.envoy.wire import serialize
from moreton.gateway.compile.limits.answers import drop_filter
from moreton.gateway.compile.limits.filter_chain import CHAIN_TYPE, filter_chain
from moreton.gateway.compile.limits.local import local_filters
from moreton.gateway.compile.limits.requests import NETWORKS_HEADER, network_tag
from moreton.gateway.compile.limits.shedding import shedding_filters
from moreton.gateway.core.limits import (
    bans_chain_name,
    chain_name,
    is_shedding,
    route_chain_names,
)
from moreton.ratelimit.core.addresses import Network
from moreton.ratelimit.core.rules.values import Clients, LimitRule, Verdict


def slots(gateway: str) -> list[manager_pb2.HttpFilter]:
    """The filters that a listener has in any case.

    A route that has limits of its own turns on the place that they have; no other route passes it.
    """
    of_routes = [_slot(name) for name in route_chain_names(gateway)]
    for one in of_routes:
        one.disabled = True
    return [_slot(bans_chain_name(gateway)), _slot(chain_name(gateway)), *of_routes]


def _slot(name: str) -> manager_pb2.HttpFilter:
    out = manager_pb2.HttpFilter(name=name)
    over_ads(out.config_discovery.config_source)
    out.config_discovery.type_urls.append(CHAIN_TYPE)
    # For a proxy that starts and refuses the limits: it serves without them.
    out.config_discovery.default_config.CopyFrom(filter_chain([]))
    return out


def chain(
    name: str,
    filters: Sequence[extension_pb2.TypedExtensionConfig],
    needs: Iterable[ResourceKey] = (),
) -> Resource:
    """The resource *name*, that has *filters*, which need what *needs* names."""
    out = extension_pb2.TypedExtensionConfig(name=name, typed_config=filter_chain(filters))
    return resource(TypeUrl.EXTENSION, name, serialize(out), frozenset(needs))


def limit_filters(
    rules: Iterable[LimitRule], clients: Clients, gateway: str, *, only_v4: bool = False
) -> list[extension_pb2.TypedExtensionConfig]:
    """The filters of *rules*, which the proxies keep for *gateway*, in their order.

    *only_v4*: that gateway's clients have addresses of IPv4 alone.
    """
    rules = list(rules)
    tagging = _networks(rules)
    found = [
        one
        for rule in rules
        for one in (
            shedding_filters(rule)
            if is_shedding(rule)
            else local_filters(rule, clients, gateway, only_v4=only_v4)
        )
    ]
    if any(rule.verdict is Verdict.DROP for rule in rules):
        found.insert(0, drop_filter())
    return [*([] if tagging is None else [tagging]), *found]


def _networks(rules: Iterable[LimitRule]) -> extension_pb2.TypedExtensionConfig | None:
    """Notes, for the conditions on addresses, in which networks the client is."""
    out = ip_tagging_pb2.IPTagging(request_type=ip_tagging_pb2.IPTagging.BOTH)
    for rule in rules:
        for condition, match in (("match", rule.match), ("except", rule.unless)):
            if match is not None and match.addresses:
                tag = out.ip_tags.add(ip_tag_name=network_tag(rule.name, condition))
                tag.ip_list.extend(map(_range, match.addresses))
    if not out.ip_tags:
        return None
    out.ip_tag_header.header = NETWORKS_HEADER
    out.ip_tag_header.action = out.ip_tag_header.SANITIZE  # what a client sends in it says nothing
    return extension("networks", out)


def _range(network: Network) -> address_pb2.CidrRange:
    out = address_pb2.CidrRange(address_prefix=str(network.network_address))
    out.prefix_len.value = network.prefixlen
    return out
