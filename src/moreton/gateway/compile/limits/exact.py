"""Rules in scope exact as Envoy's filters: the service is asked about each request that may be one.

The proxy tells facts and decides nothing. What can be told without the service is: a request that
by its method, host and path is of no rule asks nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import groupby
from typing import TypeVar

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.route.v3 import route_components_pb2 as routes_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.ratelimit.v3 import rate_limit_pb2
from envoy.extensions.rate_limit_descriptors.expr.v3 import expr_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from moreton.envoy.core.resources import Resource, ResourceKey, TypeUrl
from moreton.envoy.messages import any_of, extension, resource
from moreton.envoy.wire import serialize
from moreton.gateway.compile.limits.requests import headers_of
from moreton.ratelimit.core.rules.values import Clients, LimitRule, Match, Mode, Trait, Verdict
from moreton.ratelimit.rls.core.facts import (
    ANSWER,
    DOMAIN,
    DONE,
    ENDED,
    GATEWAY,
    GROUP,
    HEADER,
    METHOD,
    PATH,
    ROUTE,
    SERVICE,
    STATUS,
    TAKEN,
    group_of,
    has_work,
    is_asked_for,
    wanted_headers,
)
from moreton.ratelimit.rls.messages import DELAY_FIELD

ItemT = TypeVar("ItemT")
# No service can be called this: names begin with a letter or a digit.
ASKED = "_limits"
ASKED_KEY = ResourceKey(TypeUrl.CLUSTER, ASKED)
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_ACTION = routes_pb2.RateLimit.Action
_CONNECT_TIMEOUT = timedelta(milliseconds=250)
# Beyond the time that the service gives its store: for the way, and for a busy machine.
_MARGIN = timedelta(milliseconds=100)
_UNAVAILABLE = 503
_TOO_MANY = 429
# Requests that wait for their turn in a proxy; the service bounds those of each rule.
_WAITING_MAX = 10_000


def asked_cluster(socket: str) -> Resource:
    """The cluster of the service that answers at the Unix socket *socket*."""
    out = cluster_pb2.Cluster(name=ASKED, type=cluster_pb2.Cluster.STATIC)
    out.connect_timeout.FromTimedelta(_CONNECT_TIMEOUT)
    out.load_assignment.cluster_name = ASKED
    place = out.load_assignment.endpoints.add().lb_endpoints.add().endpoint
    place.address.pipe.path = socket
    options = http_protocol_options_pb2.HttpProtocolOptions()
    options.explicit_http_config.http2_protocol_options.SetInParent()
    out.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(any_of(options))
    return resource(TypeUrl.CLUSTER, ASKED, serialize(out))


def exact_rules(rules: Iterable[LimitRule]) -> list[LimitRule]:
    """Those of *rules* for which the service is asked."""
    return [rule for rule in rules if is_asked_for(rule) and rule.mode is not Mode.OFF]


def exact_filters(
    rules: Collection[LimitRule], clients: Clients, gateway: str, budget: timedelta
) -> Iterator[TypedExtensionConfig]:
    """The filters that ask about requests to *gateway*; one for each group of *rules*."""
    if not rules:
        return
    # What a client writes there is no order.
    strip = header_mutation_pb2.HeaderMutation()
    for name in (DELAY_FIELD, TAKEN):
        strip.mutations.request_mutations.add(remove=name)
    yield extension("limits/strip", strip)
    for group, of_group in groupby(sorted(rules, key=group_of), group_of):
        yield _asking(group, list(of_group), clients, gateway, budget)
    if any(rule.verdict is Verdict.DELAY for rule in rules):
        waiting = fault_pb2.HTTPFault()
        waiting.delay.header_delay.SetInParent()
        waiting.delay.percentage.numerator = 100
        waiting.max_active_faults.value = _WAITING_MAX
        yield extension("limits/wait", waiting)


def _asking(
    group: str, rules: Sequence[LimitRule], clients: Clients, gateway: str, budget: timedelta
) -> TypedExtensionConfig:
    out = rate_limit_pb2.RateLimit(domain=DOMAIN, stat_prefix=group)
    out.timeout.FromTimedelta(budget + _MARGIN)
    out.rate_limit_service.transport_api_version = 2
    out.rate_limit_service.grpc_service.envoy_grpc.cluster_name = ASKED
    out.rate_limited_as_resource_exhausted = True
    out.disable_x_envoy_ratelimited_header = True
    first = rules[0]
    if first.status != _TOO_MANY:
        out.rate_limited_status.code = first.status
    # While the service is away a share of the requests is refused, as the rules say.
    out.failure_mode_deny_percent.default_value.numerator = round(first.outage.refuse * 1_000_000)
    out.failure_mode_deny_percent.default_value.denominator = 2  # of a million
    out.failure_mode_deny_percent.runtime_key = f"limits.{gateway}.{group}:deny"
    out.status_on_error.code = _UNAVAILABLE
    facts = [*_only(rules), *_facts(group, rules, clients, gateway)]
    out.rate_limits.add().actions.extend(facts)
    for done, hits in _answers(rules):
        told = out.rate_limits.add(apply_on_stream_done=True)
        # Only of what was let in, which carries the moment of that.
        told.actions.extend([*facts, _header(TAKEN, f"{HEADER}{TAKEN}"), _say(DONE, done)])
        told.hits_addend.format = hits
    return extension(f"limits/ask/{group}", out)


def _answers(rules: Iterable[LimitRule]) -> Iterator[tuple[str, str]]:
    """What is told when a request was answered, and where the hits are found."""
    if any(rule.cost.answers for rule in rules):
        yield STATUS, "%RESPONSE_CODE%"
    if any(has_work(rule) for rule in rules):
        yield ENDED, "%RESPONSE_CODE%"
    for header in sorted({rule.cost.answer_header for rule in rules} - {""}):
        yield f"{ANSWER}{header}", f"%RESP({header})%"


def _facts(
    group: str, rules: Sequence[LimitRule], clients: Clients, gateway: str
) -> Iterator[routes_pb2.RateLimit.Action]:
    yield _say(GROUP, group)
    yield _say(GATEWAY, gateway)
    yield _header(":method", METHOD)
    yield _header(":path", PATH)
    address = _ACTION()
    address.remote_address.SetInParent()
    yield address  # its entry is called so by Envoy
    if _looks_at(rules, Trait.SERVICE, "services"):
        yield _computed(SERVICE, "xds.cluster_name")
    if _looks_at(rules, Trait.ROUTE, "routes"):
        yield _computed(ROUTE, "xds.route_name")
    for name in sorted(wanted_headers(rules, clients)):
        yield _header(":authority" if name == "host" else name, f"{HEADER}{name}", optional=True)


def _looks_at(rules: Iterable[LimitRule], trait: Trait, condition: str) -> bool:
    return any(
        any(part.trait is trait for part in rule.by)
        or any(one is not None and getattr(one, condition) for one in (rule.match, rule.unless))
        for rule in rules
    )


def _only(rules: Sequence[LimitRule]) -> Iterator[routes_pb2.RateLimit.Action]:
    """No descriptor of requests that by method, host or path are of none of *rules*."""
    methods = _union(rule.match.methods for rule in rules)
    hosts = _union(rule.match.hosts for rule in rules)
    paths = _union(rule.match.paths for rule in rules)
    some = Match(methods=frozenset(methods), hosts=frozenset(hosts), paths=tuple(paths))
    found = list(headers_of(some, ""))
    if found:
        action = _ACTION()
        action.header_value_match.descriptor_key = "of"
        action.header_value_match.descriptor_value = "some"
        action.header_value_match.headers.extend(found)
        yield action


def _union(each: Iterable[Collection[ItemT]]) -> list[ItemT]:
    """What is in any of *each*; nothing where one is empty, as it means all."""
    known = list(each)
    if not all(known):
        return []
    return list(dict.fromkeys(one for found in known for one in found))


def _say(key: str, value: str) -> routes_pb2.RateLimit.Action:
    action = _ACTION()
    action.generic_key.descriptor_key = key
    action.generic_key.descriptor_value = value
    return action


def _header(name: str, key: str, *, optional: bool = False) -> routes_pb2.RateLimit.Action:
    action = _ACTION()
    action.request_headers.header_name = name
    action.request_headers.descriptor_key = key
    action.request_headers.skip_if_absent = optional
    return action


def _computed(key: str, text: str) -> routes_pb2.RateLimit.Action:
    action = _ACTION()
    found = expr_pb2.Descriptor(descriptor_key=key, text=text, skip_if_error=True)
    action.extension.CopyFrom(extension("envoy.rate_limit_descriptors.expr", found))
    return action
