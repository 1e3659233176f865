"""Rules that cannot be meant: alone, or beside each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from moreton.kernel.patterns import PathKind, PathPattern
from moreton.ratelimit.core.addresses import Network
from moreton.ratelimit.core.rules.bounds import (
    WAITED_FOR,
    AdmissionBound,
    Algorithm,
    Bound,
    QuotaBound,
    RateBound,
    WorkBound,
)
from moreton.ratelimit.core.rules.tiers import lineage
from moreton.ratelimit.core.rules.values import (
    EVERYTHING,
    LimitRule,
    Limits,
    Match,
    Mode,
    Part,
    Place,
    Scope,
    Trait,
    Verdict,
)

_COUNTING = frozenset({Algorithm.FIXED_WINDOW, Algorithm.SLIDING_COUNTER, Algorithm.SLIDING_LOG})
_OF_GATEWAYS = frozenset({Trait.ROUTE, Trait.GATEWAY})


@dataclass(frozen=True, slots=True)
class Conflict:
    """What is wrong with *rule*, at the key *at* of it, and what to do."""

    rule: str
    at: tuple[str, ...]
    what: str
    todo: str


def conflicts(limits: Limits) -> list[Conflict]:
    """All conflicts of *limits*, those of single rules first."""
    found: list[Conflict] = []
    for rule in limits.rules.values():
        found += _of_costs(rule)
        found += _of_places(rule)
        found += _of_connections(rule)
        found += _of_work(rule)
        found += _of_matches(rule, limits)
        for at, bounds in _all_bounds(rule):
            found += _of_bounds(rule, at, bounds)
    return found + list(_of_pairs(limits))


def _all_bounds(rule: LimitRule) -> list[tuple[tuple[str, ...], tuple[Bound, ...]]]:
    own = [(("limit",), rule.bounds)]
    return own + [(("tiers", tier), b) for tier, b in sorted(rule.tiers.items()) if b is not None]


def _of_costs(rule: LimitRule) -> Iterator[Conflict]:
    cost = rule.cost.most if rule.cost.header else rule.cost.number
    if rule.cost.is_of_answers:
        return
    for at, bounds in _all_bounds(rule):
        least = min(bounds, key=lambda one: one.most, default=None)
        if least is not None and cost > least.most:
            tier = f" of tier {at[1]!r}" if at[0] == "tiers" else ""
            may = "may cost" if rule.cost.header else "costs"
            what = (
                f"a request{tier} {may} {cost} in limit {rule.name!r}, of which at most "
                f"{least.most} pass at once ({least.name}): it could never pass"
            )
            todo = f"give a burst of {cost} or more, or lower the cost"
            yield Conflict(rule.name, at if at[0] == "tiers" else ("cost",), what, todo)


def _of_places(rule: LimitRule) -> Iterator[Conflict]:
    name = rule.name
    if rule.at is Place.GATEWAY:
        if rule.scope is Scope.MACHINE:
            what = f"limit {name!r} counts in scope machine at a gateway, which is one process"
            yield Conflict(name, ("scope",), what, "take scope local, quota or exact")
        return
    known = [part for part in rule.by if part.trait in _OF_GATEWAYS]
    if known:
        what = f"limit {name!r} counts by {known[0]} in a service, which does not know it"
        yield Conflict(name, ("by",), what, "write `at: gateway`, or count by path or host")
    for key, match in (("match", rule.match), ("except", rule.unless)):
        for kind in ("gateways", "routes"):
            if match is not None and getattr(match, kind):
                what = f"limit {name!r} is about {kind} in a service, which does not know them"
                todo = "write `at: gateway`, or match by paths, hosts or services"
                yield Conflict(name, (key, kind), what, todo)


def _of_connections(rule: LimitRule) -> Iterator[Conflict]:
    if not rule.connections:
        return
    name, match = rule.name, rule.match
    if rule.at is Place.SERVICE:
        what = f"limit {name!r} counts connections in a service, which sees requests"
        yield Conflict(name, ("count",), what, "write `at: gateway`, or count requests")
    if rule.verdict is not Verdict.DROP:
        what = f"limit {name!r} counts connections, which have no answer that could tell"
        yield Conflict(name, ("verdict",), what, "write `verdict: drop`")
    if rule.by not in {(), (Part(Trait.ADDRESS),)} or rule.tiers:
        what = f"limit {name!r} counts connections, of which only the address is known"
        yield Conflict(name, ("by",), what, "count them by address, or all together")
    seen = Match(gateways=match.gateways, addresses=match.addresses, hours=match.hours)
    if match != seen:
        what = f"limit {name!r} counts connections, before any request is known to match"
        yield Conflict(name, ("match",), what, "match gateways, addresses and hours alone")
    if rule.cost.number != 1 or rule.cost.header or rule.cost.is_of_answers:
        what = f"limit {name!r} counts connections, and each is one"
        yield Conflict(name, ("cost",), what, "remove the cost")


def _of_work(rule: LimitRule) -> Iterator[Conflict]:
    """Bounds on work under way, and on failing answers."""
    name = rule.name
    for at, bounds in _all_bounds(rule):
        for one in bounds:
            adaptive = isinstance(one, WorkBound) and one.count is None
            if isinstance(one, AdmissionBound) and rule.at is Place.SERVICE:
                what = f"limit {name!r} refuses by the share of failing answers in a service"
                yield Conflict(name, at, what, "write `at: gateway`")
            if (adaptive or isinstance(one, AdmissionBound)) and rule.by:
                what = f"limit {name!r} learns from all answers, and counts by {rule.by[0]}"
                yield Conflict(name, ("by",), what, "remove `by`, or give a number")
            if (adaptive or isinstance(one, AdmissionBound)) and rule.scope is not Scope.LOCAL:
                what = f"limit {name!r} learns from what it sees, which cannot be shared"
                yield Conflict(name, ("scope",), what, "take scope local")
            elif isinstance(one, WorkBound) and rule.scope is Scope.QUOTA:
                what = f"limit {name!r} bounds work under way, which cannot be handed out ahead"
                yield Conflict(name, ("scope",), what, "take scope exact")
            if rule.cost.is_of_answers and not isinstance(one, RateBound | QuotaBound):
                what = f"limit {name!r} charges by answers what is over when they come"
                yield Conflict(name, ("cost",), what, "give a rate or a quota, or remove the cost")


def _of_matches(rule: LimitRule, limits: Limits) -> Iterator[Conflict]:
    name, tiers = rule.name, limits.clients.tiers
    if rule.unless is not None and covers(rule.unless, rule.match):
        what = f"limit {name!r} excepts all that it matches: it would never count"
        yield Conflict(name, ("except",), what, "make `except` narrower than `match`")
    for tier in sorted(rule.tiers.keys() & tiers.keys()):
        line = lineage(tiers, tier)
        reached = {one for one in tiers if tier in lineage(tiers, one)}
        wanted = rule.match.tiers
        if wanted and not any(wanted & set(lineage(tiers, one)) for one in reached):
            what = f"limit {name!r} has a limit for tier {tier!r}, and matches only others"
            yield Conflict(name, ("tiers", tier), what, f"match {tier!r} too, or remove it")
        elif _excepted(rule) & set(line):
            what = f"limit {name!r} has a limit for tier {tier!r}, which it excepts"
            yield Conflict(name, ("tiers", tier), what, "remove one of them")


def _excepted(rule: LimitRule) -> frozenset[str]:
    """The tiers of which *rule* excepts everybody."""
    unless = rule.unless
    if unless is None or unless != Match(tiers=unless.tiers):
        return frozenset()
    return unless.tiers


def _of_bounds(rule: LimitRule, at: tuple[str, ...], bounds: Sequence[Bound]) -> Iterator[Conflict]:
    name = rule.name
    for number, one in enumerate(bounds):
        for other in bounds[:number]:
            loose = one if never_refuses(one, beside=other) else other
            if loose is one or never_refuses(other, beside=one):
                tight = other if loose is one else one
                what = (
                    f"limit {name!r} has {tight.name} and {loose.name}, which never refuses "
                    "what the other lets pass"
                )
                yield Conflict(name, at, what, f"remove {loose.name}, or lower it")
    waited = [one for one in bounds if isinstance(one, RateBound) and one.algorithm in WAITED_FOR]
    if rule.verdict is Verdict.DELAY and bounds and not waited:
        what = f"limit {name!r} delays by {bounds[0].name}, which nobody can wait for in a queue"
        yield Conflict(name, ("verdict",), what, "take gcra, or write `verdict: reject`")


def _of_pairs(limits: Limits) -> Iterator[Conflict]:
    """Two rules that count the same requests by the same key, of which one never acts."""
    groups: dict[object, list[LimitRule]] = defaultdict(list)
    for rule in limits.rules.values():
        # One that is tried out in the shadow of another is meant.
        if rule.mode is Mode.ENFORCE:
            alike = (rule.at, rule.scope, rule.by, rule.missing, rule.match, rule.unless)
            groups[*alike, rule.cost, rule.connections, rule.share].append(rule)
    for group in groups.values():
        for number, rule in enumerate(group):
            for other in group[:number]:
                loose = _never_acts(rule, other) or _never_acts(other, rule)
                if loose is not None:
                    tight = other if loose is rule else rule
                    what = (
                        f"limits {tight.name!r} and {loose.name!r} count the same requests by the "
                        f"same key, and {loose.name!r} never refuses what {tight.name!r} lets pass"
                    )
                    yield Conflict(loose.name, (), what, "remove one, or make it narrower")


def _never_acts(loose: LimitRule, tight: LimitRule) -> LimitRule | None:
    if loose.tiers != tight.tiers and (loose.tiers or tight.tiers):
        return None
    if tight.is_ban:
        return loose
    acts = [
        one
        for one in loose.bounds
        if not any(never_refuses(one, beside=other) for other in tight.bounds)
    ]
    return loose if loose.bounds and not acts else None


def never_refuses(loose: Bound, *, beside: Bound) -> bool:
    """Whether *loose* lets all pass that a bound *beside* it does."""
    match loose, beside:
        case RateBound(), RateBound():
            slower = beside.rate.per_second <= loose.rate.per_second
            if loose.algorithm not in _COUNTING or beside.algorithm is loose.algorithm:
                return slower and beside.most <= loose.most
            passes = beside.most + beside.rate.per_second * loose.rate.per.total_seconds()
            return passes <= loose.most
        case QuotaBound(), QuotaBound():
            return (loose.span, loose.zone) == (beside.span, beside.zone) and (
                beside.count <= loose.count
            )
        case WorkBound(), WorkBound():
            return loose.count == beside.count or (
                None not in {loose.count, beside.count}
                and (beside.count or 0) <= (loose.count or 0)
            )
        case AdmissionBound(), AdmissionBound():
            return True
        case _:
            return False


def covers(wide: Match, narrow: Match) -> bool:
    """Whether every request of *narrow* is surely one of *wide*."""
    if wide == EVERYTHING:
        return True
    for kind in (
        "gateways", "services", "routes", "hosts", "methods", "api_keys", "tiers", "countries",
        "asns",
    ):  # fmt: skip
        wanted, given = getattr(wide, kind), getattr(narrow, kind)
        if wanted and not (given and given <= wanted):
            return False
    return (
        _each(wide.paths, narrow.paths, _path_within)
        and _each(wide.addresses, narrow.addresses, _network_within)
        and set(wide.headers) <= set(narrow.headers)
        and set(wide.claims) <= set(narrow.claims)
        and (not wide.hours or wide.hours == narrow.hours)
    )


def _each(wide: Sequence[object], narrow: Sequence[object], within: object) -> bool:
    assert callable(within)
    return not wide or (
        bool(narrow) and all(any(within(one, other) for other in wide) for one in narrow)
    )


def _path_within(path: PathPattern, wide: PathPattern) -> bool:
    if wide.kind is PathKind.PREFIX:
        # A template's literal part says where all of it is.
        return path.prefix == wide.prefix or path.prefix.startswith(f"{wide.prefix}/")
    return path == wide


def _network_within(network: Network, wide: Network) -> bool:
    if isinstance(network, IPv4Network) and isinstance(wide, IPv4Network):
        return network.subnet_of(wide)
    if isinstance(network, IPv6Network) and isinstance(wide, IPv6Network):
        return network.subnet_of(wide)
    return False
