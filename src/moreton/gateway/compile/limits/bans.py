"""Who is banned at a gateway: looked up in a trie of networks, then by the values of headers.

A resource of its own, so that a ban starts no bucket anew. Of clients a proxy knows the address and
the headers; who is banned by anything else is kept out by services.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from typing import Any

from envoy.config.core.v3 import extension_pb2
from envoy.config.rbac.v3 import rbac_pb2 as policies_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from envoy.extensions.matching.common_inputs.network.v3 import network_inputs_pb2
from envoy.type.matcher.v3 import http_inputs_pb2
from xds.core.v3 import cidr_pb2
from xds.core.v3 import extension_pb2 as xds_extension_pb2
from xds.type.matcher.v3 import ip_pb2, matcher_pb2

from moreton.envoy.messages import any_of, extension
from moreton.gateway.core.limits import bans_at_gateways
from moreton.ratelimit.core.rules.values import Ban, Trait

_NAME = "bans"


def ban_filters(bans: Iterable[Ban]) -> list[extension_pb2.TypedExtensionConfig]:
    """The filter that keeps *bans*; none where a proxy knows none of them."""
    known = bans_at_gateways(bans)
    if not known:
        return []
    out = rbac_pb2.RBAC()
    out.matcher.CopyFrom(_matcher(known))
    return [extension(_NAME, out)]


def _matcher(bans: Iterable[Ban]) -> matcher_pb2.Matcher:
    networks: list[str] = []
    headers: dict[str, list[str]] = defaultdict(list)
    for ban in bans:
        if ban.part.trait is Trait.ADDRESS:
            networks.append(ban.value)
        else:
            headers[ban.part.name].append(ban.value)
    return _of_networks(sorted(set(networks)), _of_headers(headers))


def _of_networks(networks: list[str], otherwise: matcher_pb2.Matcher.OnMatch) -> Any:
    out = matcher_pb2.Matcher()
    if networks:
        source = network_inputs_pb2.SourceIPInput()
        out.matcher_tree.input.CopyFrom(_typed("source-ip", source))
        found = ip_pb2.IPMatcher()
        row = found.range_matchers.add()
        row.ranges.extend(map(_range, networks))
        row.on_match.CopyFrom(_does(policies_pb2.RBAC.DENY))
        out.matcher_tree.custom_match.CopyFrom(_typed("networks", found))
    else:
        out.matcher_list.SetInParent()
    out.on_no_match.CopyFrom(otherwise)
    return out


def _of_headers(headers: Mapping[str, list[str]]) -> matcher_pb2.Matcher.OnMatch:
    """One header after the other; of each all values at once."""
    found = _does(policies_pb2.RBAC.ALLOW)
    for name, values in sorted(headers.items(), reverse=True):
        tree = matcher_pb2.Matcher()
        asked = http_inputs_pb2.HttpRequestHeaderMatchInput(header_name=name)
        tree.matcher_tree.input.CopyFrom(_typed(f"header {name}", asked))
        for value in sorted(set(values)):
            banned = tree.matcher_tree.exact_match_map.map[value]
            banned.CopyFrom(_does(policies_pb2.RBAC.DENY))
        tree.on_no_match.CopyFrom(found)
        found = matcher_pb2.Matcher.OnMatch(matcher=tree)
    return found


def _does(action: Any) -> matcher_pb2.Matcher.OnMatch:
    name = "allowed" if action == policies_pb2.RBAC.ALLOW else "banned"
    out = matcher_pb2.Matcher.OnMatch()
    out.action.CopyFrom(_typed(name, policies_pb2.Action(name=name, action=action)))
    return out


def _typed(name: str, message: Any) -> Any:
    return xds_extension_pb2.TypedExtensionConfig(name=name, typed_config=any_of(message))


def _range(text: str) -> cidr_pb2.CidrRange:
    network = ip_network(text)
    out = cidr_pb2.CidrRange(address_prefix=str(network.network_address))
    out.prefix_len.value = network.prefixlen
    return out
