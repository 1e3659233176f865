"""What the shape of limits cannot show: names, files, rules that contradict each other."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from moreton.config import Fault, Location
from moreton.ratelimit.config.files import geoip_problem, keys_problem
from moreton.ratelimit.core.rules.conflicts import Conflict, conflicts
from moreton.ratelimit.core.rules.values import (
    Clients,
    LimitRule,
    Limits,
    Match,
    Place,
    Scope,
    Trait,
)

Locate = Callable[[Sequence[str | int]], Location | None]
_TOLD_AT_GATEWAYS = frozenset({Trait.ADDRESS, Trait.HEADER})
_RULE = "the rule is not in force"


@dataclass(frozen=True, slots=True)
class Defined:
    """The names that the other sections define."""

    gateways: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()
    routes: frozenset[str] = frozenset()


def check_limits(limits: Limits, defined: Defined, where: Locate) -> list[Fault]:
    """Names that no one defines, files that cannot be read, rules that cannot be meant."""
    clients = limits.clients
    faults = [*_check_tiers(clients, where), *_check_files(clients, where)]
    faults += _check_addresses(clients, where)
    for rule in limits.rules.values():
        faults += _check_names(rule, clients, defined, where)
        faults += _check_sources(rule, limits, where)
    faults += [_conflict_fault(one, where) for one in conflicts(limits)]
    return faults


def notes_of(limits: Limits) -> list[str]:
    """What is allowed, and should be known: limits of 0, rules that never act."""
    notes = []
    for rule in limits.rules.values():
        if rule.is_ban:
            notes.append(
                f"limit {rule.name!r} is 0: it is a ban, nothing of what it matches passes"
            )
        banned = sorted(tier for tier, bounds in rule.tiers.items() if bounds == ())
        if banned:
            notes.append(f"limit {rule.name!r} is 0 for {', '.join(banned)}: they are banned there")
    return notes + [
        f"the ban of {ban.who} is kept by services alone: no gateway can tell"
        for ban in limits.clients.bans
        if ban.part.trait not in _TOLD_AT_GATEWAYS
    ]


def _check_names(
    rule: LimitRule, clients: Clients, defined: Defined, where: Locate
) -> Iterator[Fault]:
    for key, match in (("match", rule.match), ("except", rule.unless)):
        if match is None:
            continue
        keys = {one.name for one in clients.api_keys}
        for kind, known in (
            ("gateways", defined.gateways),
            ("services", defined.services),
            ("routes", defined.routes),
            ("tiers", clients.tiers.keys()),
            ("api_keys", keys),
        ):
            for name in sorted(getattr(match, kind) - set(known)):
                what = (
                    f"limit {rule.name!r} is about the {_one(kind)} {name!r}, which no one defines"
                )
                place = where(("limits", rule.name, key, kind))
                yield Fault(what, _meant(name, known, "define it"), place, _RULE)
    for tier in sorted(rule.tiers.keys() - clients.tiers.keys()):
        what = f"limit {rule.name!r} has the tier {tier!r}, which no one defines"
        place = where(("limits", rule.name, "tiers", tier))
        yield Fault(what, _meant(tier, clients.tiers, "define it in clients.tiers"), place, _RULE)


def _check_sources(rule: LimitRule, limits: Limits, where: Locate) -> Iterator[Fault]:
    """What a rule needs to know, and nobody says where from."""
    clients = limits.clients
    matches = [one for one in (rule.match, rule.unless) if one is not None]
    traits = {part.trait.value for part in rule.by}
    place = where(("limits", rule.name))

    def missing(what: str, todo: str) -> Fault:
        return Fault(f"limit {rule.name!r} {what}", todo, place, _RULE)

    if not clients.geoip and (traits & {"country", "asn"} or any(_is_of_place(m) for m in matches)):
        todo = "give clients.geoip.files, in the MaxMind format"
        yield missing("asks where clients are, and there is no file that knows", todo)
    if clients.tokens is None and ("jwt" in traits or any(m.claims for m in matches)):
        todo = "give clients.jwt.keys, or clients.jwt.verified where a proxy in front did it"
        yield missing("looks at tokens that nobody verified, which anyone can write", todo)
    if not clients.tiers and "tier" in traits:
        yield missing("counts by tier, and there are none", "define clients.tiers")
    needs_redis = rule.at is Place.SERVICE and rule.scope in {Scope.QUOTA, Scope.EXACT}
    if needs_redis and not limits.counters.redis:
        what = f"counts in scope {rule.scope} among services, and there is nothing to share it by"
        yield missing(what, "give counters.redis, or take scope local or machine")


def _check_tiers(clients: Clients, where: Locate) -> Iterator[Fault]:
    tiers = clients.tiers
    prevents = "nobody would be of that tier"
    calls: dict[str, str] = {}
    for name, tier in tiers.items():
        place = where(("clients", "tiers", name, "within"))
        if tier.within and tier.within not in tiers:
            what = f"tier {name!r} is within {tier.within!r}, which no one defines"
            yield Fault(what, _meant(tier.within, tiers, "define it"), place, prevents)
        path, at = [name], tier.within
        while at in tiers and at not in path:
            path.append(at)
            at = tiers[at].within
        if at == name == min(path):
            what = f"tier {name!r} is within itself: {' in '.join([*path, name])}"
            yield Fault(what, "remove one `within`", place, prevents)
        for called in sorted({name, *tier.aliases}):
            if called in calls:
                what = f"{called!r} is both tier {calls[called]!r} and tier {name!r}"
                place = where(("clients", "tiers", name, "aliases"))
                yield Fault(what, "remove one of the aliases", place, prevents)
            calls[called] = name
    if clients.tier_unknown and clients.tier_unknown not in tiers:
        what = f"unknown_tier is {clients.tier_unknown!r}, which no one defines"
        place = where(("clients", "unknown_tier"))
        yield Fault(what, _meant(clients.tier_unknown, tiers, "define it"), place, prevents)
    seen: dict[str, str] = {}
    for key in clients.api_keys:
        place = where(("clients", "api_keys", "keys", key.name, "tier"))
        if key.tier and key.tier not in tiers:
            what = f"the API key {key.name!r} has the tier {key.tier!r}, which no one defines"
            yield Fault(what, _meant(key.tier, tiers, "define it"), place, prevents)
        if key.sha256 in seen:
            what = f"the API keys {seen[key.sha256]!r} and {key.name!r} are the same key"
            yield Fault(what, "remove one", place, "nobody could tell them apart")
        seen[key.sha256] = key.name


def _check_files(clients: Clients, where: Locate) -> Iterator[Fault]:
    for number, file in enumerate(clients.geoip):
        problem = geoip_problem(Path(file))
        if problem is not None:
            place = where(("clients", "geoip", "files", number))
            yield Fault(*problem, place, "nobody's country would be known")
    if clients.tokens is not None and clients.tokens.keys:
        problem = keys_problem(Path(clients.tokens.keys))
        if problem is not None:
            place = where(("clients", "jwt", "keys"))
            yield Fault(*problem, place, "no token could be verified")


def _check_addresses(clients: Clients, where: Locate) -> Iterator[Fault]:
    prevents = "anyone could say that they are someone else"
    for number, network in enumerate(clients.trusted):
        if not isinstance(network, str) and not network.prefixlen:
            what = f"{network} trusts every address"
            place = where(("clients", "trusted_proxies", number))
            yield Fault(what, "give the networks of your own proxies", place, prevents)
    seen: set[str] = set()
    for number, ban in enumerate(clients.bans):
        if ban.who in seen:
            place = where(("clients", "bans", number))
            what = f"{ban.who} is banned twice"
            yield Fault(what, "remove one of them", place, "which one holds is not said")
        seen.add(ban.who)


def _conflict_fault(one: Conflict, where: Locate) -> Fault:
    return Fault(one.what, one.todo, where(("limits", one.rule, *one.at)), _RULE)


def _is_of_place(match: Match) -> bool:
    return bool(match.countries or match.asns)


def _one(kind: str) -> str:
    return {"api_keys": "API key"}.get(kind, kind.removesuffix("s"))


def _meant(name: str, known: Iterable[str], otherwise: str) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"write {close[0]!r}, or {otherwise}" if close else f"{otherwise}, or remove it"
