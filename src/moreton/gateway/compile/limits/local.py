"""A rule of rates as Envoy's local rate limit: a filter for each bound, each with its own words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from envoy.config.core.v3 import base_pb2
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2

from moreton.envoy.messages import extension
from moreton.gateway.compile.limits.answers import (
    DROP_HEADER,
    LIMIT_HEADER,
    header_options,
    refusal_fields,
)
from moreton.gateway.compile.limits.buckets import bucket
from moreton.gateway.compile.limits.requests import Descriptor, descriptors
from moreton.gateway.compile.limits.shares.filters import charge_by_share, count_asked
from moreton.gateway.core.limits import is_of_routes, is_shedding
from moreton.gateway.core.quotas import is_shared
from moreton.kernel.quantities import Rate
from moreton.ratelimit.core.rules.bounds import RateBound
from moreton.ratelimit.core.rules.values import Clients, LimitRule, Mode, Verdict

# So many clients does a bound know at a time: about 5 MB. Of more, the one seen longest ago is
# forgotten, and comes back to a full bucket; Envoy's own default is 20.
CLIENTS_MAX = 10_000
# Through which nothing passes: a request costs two of a bucket that holds one.
_CLOSED = RateBound(Rate(1, timedelta(hours=1)), 1)
_CLOSED_COST = 2


def local_filters(
    rule: LimitRule, clients: Clients, gateway: str, *, only_v4: bool
) -> Iterator[TypedExtensionConfig]:
    """The filters that keep the rates of *rule* at *gateway*, the slowest first; one for a ban.

    Nothing here depends on whether the rule acts, so that this can change without a new bucket.
    """
    if rule.is_ban:
        yield _filter(rule, clients, _CLOSED, rule.name, gateway, only_v4=only_v4, banned=True)
        return
    rates = [one for one in rule.bounds if isinstance(one, RateBound)]
    for number, bound in enumerate(sorted(rates, key=lambda one: one.rate.per_second)):
        named = rule.name if len(rates) == 1 else f"{rule.name} {bound.name}"
        yield _filter(rule, clients, bound, named, gateway, only_v4=only_v4, number=number)


def filter_name(rule: str, number: int = 0) -> str:
    """The name of a rule's filter number *number*."""
    return f"limit/{rule}" if not number else f"limit/{rule}/{number}"


def enabled_key(rule: str) -> str:
    """The runtime value that says for which share of the requests *rule* counts."""
    return f"limits.{rule}:enabled"


def enforced_key(rule: str) -> str:
    """The runtime value that says for which share of the requests *rule* acts."""
    return f"limits.{rule}:enforced"


def runtime_values(rule: LimitRule) -> dict[str, float | bool]:
    """The runtime values of *rule*: shares of requests, or whether it sheds load at all."""
    if rule.connections or is_shedding(rule):
        return {enabled_key(rule.name): rule.mode is Mode.ENFORCE}
    return {
        enabled_key(rule.name): 0.0 if rule.mode is Mode.OFF else 1.0,
        enforced_key(rule.name): rule.share if rule.mode is Mode.ENFORCE else 0.0,
    }


def _filter(
    rule: LimitRule,
    clients: Clients,
    bound: RateBound,
    named: str,
    gateway: str,
    *,
    only_v4: bool,
    number: int = 0,
    banned: bool = False,
) -> TypedExtensionConfig:
    name = filter_name(rule.name, number)
    out = local_rate_limit_pb2.LocalRateLimit(stat_prefix=name)
    out.status.code = rule.status
    out.rate_limited_as_resource_exhausted = True
    limit = None if banned else bound.as_limit(named)
    cost = _CLOSED_COST if banned else rule.cost.number
    dropped = rule.verdict is Verdict.DROP
    told = [(LIMIT_HEADER, rule.name), *refusal_fields(limit, cost, rule.fields)]
    fields = [(DROP_HEADER, rule.name)] if dropped else told
    out.response_headers_to_add.extend(header_options(fields))
    _say(out.filter_enabled, enabled_key(rule.name))
    _say(out.filter_enforced, enforced_key(rule.name))
    found = descriptors(rule, clients, of_routes=is_of_routes(rule), only_v4=only_v4)
    if cost == 1 and not any(one.entries for one in found) and not is_shared(rule):
        out.token_bucket.CopyFrom(bucket(bound))
    else:
        _add_descriptors(out, found, bound, cost)
    if is_shared(rule):
        charge_by_share(out, rule, gateway)
        if number == 0 and (asked := _conditions(rule, clients)):
            count_asked(out, rule, gateway, asked)
    return extension(name, out)


def _conditions(rule: LimitRule, clients: Clients) -> list[Descriptor]:
    """What the requests of *rule* make, whatever it counts by; none when all are of it."""
    bare = replace(rule, by=())
    found = descriptors(bare, clients, of_routes=is_of_routes(rule), only_v4=True)
    return found if any(one.entries for one in found) else []


def _add_descriptors(
    out: local_rate_limit_pb2.LocalRateLimit, found: list[Descriptor], bound: RateBound, cost: int
) -> None:
    """Requests without a descriptor are not of the rule: there is no bucket for all others."""
    told = bucket(bound)
    out.always_consume_default_token_bucket.value = False
    out.max_dynamic_descriptors.value = CLIENTS_MAX
    for one in found:
        asked = out.rate_limits.add()
        asked.actions.extend(one.actions)
        if cost != 1:
            asked.hits_addend.number.value = cost
        entries = one.entries
        if not entries:
            asked.actions.add().generic_key.descriptor_value = "all"
            entries = (("generic_key", "all"),)
        kept = out.descriptors.add()
        for key, value in entries:
            kept.entries.add(key=key, value=value)
        kept.token_bucket.CopyFrom(told)


def _say(out: base_pb2.RuntimeFractionalPercent, key: str) -> None:
    """By the runtime value *key*; without it not at all: no rule acts before it is told to."""
    out.runtime_key = key
    out.default_value.numerator = 0
    out.default_value.denominator = out.default_value.MILLION
