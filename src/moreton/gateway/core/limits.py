"""Which rules of the section `limits` a proxy keeps by itself, and for which routes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from ipaddress import ip_address

from moreton.gateway.core.model import Gateway, Route
from moreton.gateway.core.places import PLACES
from moreton.gateway.core.quotas import held_quota, is_shared, share_problems
from moreton.ratelimit.core.rules.bounds import (
    AdmissionBound,
    Algorithm,
    Bound,
    RateBound,
    WorkBound,
)
from moreton.ratelimit.core.rules.values import (
    Ban,
    LimitRule,
    Match,
    Mode,
    Place,
    Scope,
    Trait,
    Verdict,
)
from moreton.ratelimit.quota import HeldQuota

# Envoy's bucket counts in 32 bits.
TOKENS_MAX = 2**32 - 1
_PARTS = frozenset(
    {
        Trait.ADDRESS,
        Trait.HEADER,
        Trait.API_KEY,
        Trait.ROUTE,
        Trait.SERVICE,
        Trait.GATEWAY,
        Trait.HOST,
        Trait.METHOD,
        Trait.PATH,
    }
)
# Envoy's bucket fills all the time; what counts in windows is another promise.
_BUCKETS = frozenset({Algorithm.GCRA, Algorithm.TOKEN_BUCKET})
_LOOKED_UP = ("claims", "api_keys", "tiers", "countries", "asns")
_OF_ROUTES = frozenset({"gateways", "services", "routes"})
_ELSEWHERE = "take `scope: exact`, or `at: service`"


def chain_name(gateway: str) -> str:
    """The name of the filters for the limits of all requests to *gateway*."""
    return f"limits/{gateway}"


def route_chain_name(gateway: str, place: int) -> str:
    """The name of the filters in a *place* for the limits of some routes of *gateway*."""
    return f"route-limits/{gateway}/{place}"


def route_chain_names(gateway: str) -> list[str]:
    """The names of all places for the limits of some routes of *gateway*."""
    return [route_chain_name(gateway, place) for place in range(PLACES)]


def arrivals_name(gateway: str) -> str:
    """The name of the filter for the connections that come to *gateway*."""
    return f"arrivals/{gateway}"


def connections_name(gateway: str) -> str:
    """The name of the filter for the connections that *gateway* has."""
    return f"connections/{gateway}"


def filter_resources(rule: LimitRule, gateway: str) -> list[str]:
    """The names of the filters that carry *rule* at *gateway*, or may: it has one of the places."""
    if not rule.connections:
        return route_chain_names(gateway) if is_of_routes(rule) else [chain_name(gateway)]
    rates = any(isinstance(one, RateBound) for one in rule.bounds)
    counts = any(isinstance(one, WorkBound) for one in rule.bounds)
    return [arrivals_name(gateway)] * rates + [connections_name(gateway)] * counts


def bans_chain_name(gateway: str) -> str:
    """The name of what keeps out of *gateway* who is banned."""
    return f"bans/{gateway}"


def bans_at_gateways(bans: Iterable[Ban]) -> list[Ban]:
    """Those of *bans* that a proxy can tell: by the client's address, or a header of it."""
    return [ban for ban in bans if ban.part.trait in {Trait.ADDRESS, Trait.HEADER}]


def kept_by_proxies(rule: LimitRule) -> bool:
    """Whether each proxy keeps *rule* by itself, or by its share."""
    return rule.at is Place.GATEWAY and rule.scope in {Scope.LOCAL, Scope.QUOTA}


def is_of_routes(rule: LimitRule) -> bool:
    """Whether *rule* is for some routes or services, or not for some."""
    return any(one.routes or one.services for one in (rule.match, rule.unless) if one is not None)


def is_shedding(rule: LimitRule) -> bool:
    """Whether *rule* bounds work under way, or answers that fail, rather than requests."""
    return any(isinstance(one, WorkBound | AdmissionBound) for one in rule.bounds)


def is_for_gateway(rule: LimitRule, gateway: str) -> bool:
    """Whether *rule* is for *gateway*."""
    if rule.match.gateways and gateway not in rule.match.gateways:
        return False
    unless = rule.unless
    return unless is None or conditions_of(unless) != {"gateways"} or gateway not in unless.gateways


def has_only_v4(gateway: Gateway) -> bool:
    """Whether no client of *gateway* can have an address of IPv6, itself or by a proxy's word."""
    if gateway.trusted_proxies:
        return False
    return all(_is_v4(listener.address.host) for listener in gateway.listeners)


def is_for_route(rule: LimitRule, route: Route) -> bool:
    """Whether requests of *route* are those of a *rule* that `is_of_routes`."""
    if not _takes(rule.match, route):
        return False
    unless = rule.unless
    if unless is None or not conditions_of(unless) & {"routes", "services"}:
        return True
    return not _takes(unless, route)


def conditions_of(match: Match) -> set[str]:
    """The names of the conditions that *match* has."""
    return {name for name in Match.__dataclass_fields__ if getattr(match, name)}


def proxy_problems(rule: LimitRule) -> list[tuple[str, str]]:
    """Why no proxy can keep *rule* by itself, each with what to do; none when it can."""
    if not kept_by_proxies(rule):
        return []
    return [*_problems(rule), *share_problems(rule)]


def _problems(rule: LimitRule) -> Iterator[tuple[str, str]]:
    if rule.connections:
        yield from _problems_of_connections(rule)
        return
    for match in (rule.match, rule.unless):
        for name in _LOOKED_UP:
            if match is not None and getattr(match, name):
                yield _unknown(f"the {name.replace('_', ' ')} of a client")
    if rule.unless is not None:
        had = conditions_of(rule.unless)
        if len(had) > 1 and had & {*_OF_ROUTES, "hours"} and had != {"services", "routes"}:
            what = f"`except` has {' and '.join(sorted(had))}, of which a proxy looks at one alone"
            yield what, "make it two rules"
    if rule.tiers:
        yield _unknown("the tier of a client")
    yield from (_unknown(f"the {part}") for part in rule.by if part.trait not in _PARTS)
    if rule.cost.header or rule.cost.is_of_answers:
        yield "a proxy by itself charges every request the same", _ELSEWHERE
    if rule.verdict is Verdict.DELAY:
        yield "a proxy by itself lets no request wait", f"{_ELSEWHERE}, or `verdict: reject`"
    if rule.shed:
        yield _unknown("the criticality of a request")
    for bound in rule.bounds:
        yield from _problems_of_bound(bound)
    if is_shedding(rule):
        yield from _problems_of_shedding(rule)


def _unknown(what: str) -> tuple[str, str]:
    return f"a proxy by itself does not know {what}", _ELSEWHERE


def _problems_of_bound(bound: Bound) -> Iterator[tuple[str, str]]:
    if isinstance(bound, RateBound):
        if bound.algorithm not in _BUCKETS:
            what = f"a proxy by itself does not count by {bound.algorithm}"
            yield what, f"{_ELSEWHERE}, or gcra"
        if max(bound.burst, bound.rate.count) > TOKENS_MAX:
            yield f"a proxy counts to {TOKENS_MAX}, and {bound.name} is above", "lower it"
    elif not isinstance(bound, WorkBound | AdmissionBound):
        yield f"a proxy by itself keeps no calendar, and so not {bound.name}", _ELSEWHERE


def _problems_of_shedding(rule: LimitRule) -> Iterator[tuple[str, str]]:
    """Of work under way and of answers that fail Envoy keeps one count for all clients."""
    if len(rule.bounds) > 1:
        yield "a proxy bounds work under way in a rule by itself", "make it two rules"
    if rule.by:
        what = "a proxy counts work under way for all clients together"
        yield what, f"remove `by`, or {_ELSEWHERE}"
    for match in (rule.match, rule.unless):
        had = set() if match is None else conditions_of(match) - _OF_ROUTES
        if had:
            what = (
                f"a proxy counts work under way by gateway, service and route, not by {had.pop()}"
            )
            yield what, "match those alone"
    if rule.mode is Mode.SHADOW or rule.share < 1:
        what = "a proxy cannot only count what is too much work under way"
        yield what, "write `mode: enforce` or `mode: off`, without percent"
    if rule.verdict is not Verdict.REJECT:
        yield f"a proxy does not {rule.verdict} what is too much work under way", "reject it"


def _problems_of_connections(rule: LimitRule) -> Iterator[tuple[str, str]]:
    for match in (rule.match, rule.unless):
        had = set() if match is None else conditions_of(match) - {"gateways"}
        if had:
            yield (
                f"a proxy counts connections by gateway, not by {had.pop()}",
                "match gateways alone",
            )
    if rule.is_ban:
        yield "no connection at all would be taken", "remove the listener, or give a rate"
    if rule.by:
        yield "a gateway counts all its connections together", "remove `by`, or count requests"
    if rule.mode is Mode.SHADOW or rule.share < 1:
        what = "a proxy cannot only count connections that are too many"
        yield what, "write `mode: enforce` or `mode: off`, without percent"
    for bound in rule.bounds:
        if isinstance(bound, RateBound) and bound.algorithm in _BUCKETS:
            continue
        if not isinstance(bound, WorkBound) or bound.count is None:
            yield f"connections have a rate, or so many at once, not {bound.name}", "give such"


def _is_v4(host: str) -> bool:
    try:
        return ip_address(host).version == 4
    except ValueError:
        return False  # a name, of whatever it has


def _takes(match: Match, route: Route) -> bool:
    if match.routes and route.name not in match.routes:
        return False
    return not match.services or bool(match.services & {each.service for each in route.to})


def limits_of(rules: Collection[LimitRule], gateway: str) -> list[LimitRule]:
    """Those of *rules* that the proxies keep for *gateway*, in the order in which they look.

    The slowest first: what a later one refuses was charged by the earlier ones already.
    """
    kept = [
        rule
        for rule in rules
        if kept_by_proxies(rule) and not proxy_problems(rule) and is_for_gateway(rule, gateway)
    ]
    return sorted(kept, key=lambda rule: (not rule.is_ban, _per_second(rule), rule.name))


def _per_second(rule: LimitRule) -> float:
    rates = [one.rate.per_second for one in rule.bounds if isinstance(one, RateBound)]
    return min(rates, default=0.0)


def shared_by(rules: Collection[LimitRule], gateway: str) -> dict[str, HeldQuota]:
    """What *gateway* shares with all others, by the rules' names."""
    return {rule.name: held_quota(rule) for rule in limits_of(rules, gateway) if is_shared(rule)}
