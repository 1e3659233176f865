"""Limits as documents: for the API, and for the commands when no control plane runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from moreton.controlplane.settings import Settings
from moreton.gateway.core.explain import Request, explain
from moreton.gateway.core.limits import bans_at_gateways
from moreton.gateway.core.model import Route
from moreton.ratelimit.core.rules import compiled
from moreton.ratelimit.core.rules.bans import BanIndex, in_force
from moreton.ratelimit.core.rules.seen import Caller, Seen, Sources, Teller
from moreton.ratelimit.core.rules.values import Ban, LimitRule, Limits, Place, Trait
from moreton.ratelimit.core.rules.words import bounds_in_words, match_in_words
from moreton.ratelimit.rulebook.documents import ban_document
from moreton.ratelimit.rulebook.places import Places
from moreton.ratelimit.rulebook.tokens import Verifier

Document = dict[str, Any]
_SECTIONS = ("limits", "clients", "counters")
_ROUTED = frozenset({Trait.GATEWAY, Trait.ROUTE, Trait.SERVICE})


def limits_document(settings: Settings) -> list[Document]:
    """All rules, in the order of the file."""
    return [_rule(rule, settings) for rule in settings.limits.rules.values()]


def bans_document(settings: Settings, bans: Iterable[Ban], now: datetime) -> list[Document]:
    """The bans that hold *now*: of the file, and *bans* that the API made."""
    mine = [ban for ban in settings.limits.clients.bans if in_force(ban, now)]
    return [*(ban_shown(one, "file") for one in mine), *(ban_shown(one, "api") for one in bans)]


def ban_shown(ban: Ban, source: str) -> Document:
    """*ban*, and where it is kept: a gateway does not know the countries and tiers of clients."""
    places = ["gateway", "service"] if bans_at_gateways([ban]) else ["service"]
    until = None if ban.until is None else ban.until.astimezone(UTC).isoformat(timespec="seconds")
    return {**ban_document(ban, source), "until": until, "at": places}


def sections_of(settings: Settings) -> Mapping[str, Any]:
    """The sections about limits as they are written."""
    data = settings.document.data
    return {name: data[name] for name in _SECTIONS if name in data}


def explanation(
    settings: Settings,
    routes: Iterable[Route],
    bans: Sequence[Ban],
    asked: Caller,
    now: datetime,
) -> Document:
    """Which rules a request is under, by which keys, and why not under the others.

    *routes* are those in force. A gateway counts the proxies in front of it and a service knows
    their networks: a client may be one to the one and another to the other. Raises `ValueError` for
    a path that is none, and a gateway that nobody defines.
    """
    limits = settings.limits
    caller = routed(asked, routes)
    teller = teller_of(limits)
    seen = teller.see(caller, now)
    at_gateway = teller.see(_as_gateways_see(caller, settings), now)
    known = [*limits.clients.bans, *bans]
    ban = BanIndex(known).ban_of(seen) or BanIndex(bans_at_gateways(known)).ban_of(at_gateway)
    return {
        "method": caller.method,
        "path": caller.path,
        "route": caller.route or None,
        "service": caller.service or None,
        "client": _client(seen),
        "at_gateway": {"address": at_gateway.address, "key": at_gateway.client},
        "banned": None if ban is None else ban_shown(ban, ""),
        "rules": [
            _explained(rule, at_gateway if rule.at is Place.GATEWAY else seen)
            for rule in limits.rules.values()
        ],
    }


def _as_gateways_see(caller: Caller, settings: Settings) -> Caller:
    """*caller* with the address that its gateway takes for the client's."""
    gateways, said = settings.gateways, caller.headers.get("x-forwarded-for", "")
    if caller.gateway and caller.gateway not in gateways:
        raise ValueError(
            f"no gateway is called {caller.gateway!r}; the gateways are: {', '.join(gateways)}"
        )
    asked = [gateways[caller.gateway]] if caller.gateway else gateways.values()
    counts = {one.trusted_proxies for one in asked}
    if said and len(counts) > 1:
        raise ValueError(
            "the gateways trust different numbers of proxies, so who the client is depends on "
            f"which of them is asked; say it: {', '.join(gateways)}"
        )
    hops, trusted = said.split(",") if said else [], max(counts, default=0)
    rest = {name: value for name, value in caller.headers.items() if name != "x-forwarded-for"}
    # As Envoy does: with fewer than it is to have, the field says nothing.
    client = hops[-trusted].strip() if 0 < trusted <= len(hops) else ""
    return replace(caller, address=client or caller.address, headers=rest)


def teller_of(limits: Limits) -> Teller:
    """Tells who clients are, as services do."""
    clients = limits.clients
    claims: Callable[[str], Mapping[str, str]] = Sources().claims
    if clients.tokens is not None:
        claims = Verifier(clients.tokens).claims
    return Teller(clients, Sources(claims, Places(clients.geoip).place))


def needs_routes(rule: LimitRule) -> bool:
    """Whether *rule* asks which gateway, route or service a request is of."""
    matches = [one for one in (rule.match, rule.unless) if one is not None]
    return any(one.gateways or one.routes or one.services for one in matches) or any(
        part.trait in _ROUTED for part in rule.by
    )


def utc_now() -> datetime:
    """The present."""
    return datetime.now(UTC)


def routed(asked: Caller, routes: Iterable[Route]) -> Caller:
    """*asked* with the route that takes it, and where that sends most.

    Raises `ValueError` for a path that is none.
    """
    request = Request.of(asked.method, asked.path, asked.headers)
    winner = explain(routes, request, asked.gateway or None).winner
    service = asked.service
    if winner is not None and winner.to and not service:
        service = max(winner.to, key=lambda one: one.weight).service
    return Caller(
        request.method,
        request.path,
        {**request.headers, **({"host": request.host} if request.host else {})},
        asked.address,
        gateway=asked.gateway,
        service=service,
        route="" if winner is None else winner.name,
    )


def _client(seen: Seen) -> Document:
    return {
        "address": seen.address,
        "key": seen.client,
        "api_key": seen.api_key or None,
        "tier": seen.tier or None,
        "country": seen.country,
        "asn": seen.asn,
        "claims": dict(seen.claims),
    }


def _explained(rule: LimitRule, seen: Seen) -> Document:
    found = compiled.explain(rule, seen)
    applied = found.applied
    return {
        "name": rule.name,
        "applies": applied is not None,
        "why_not": found.why_not or None,
        "key": None if applied is None else applied.key,
        "limit": bounds_in_words(rule.bounds if applied is None else applied.bounds),
        "tier": (applied.variant or None) if applied is not None else None,
        "verdict": str(rule.verdict),
        "mode": str(rule.mode),
        "at": str(rule.at),
    }


def _rule(rule: LimitRule, settings: Settings) -> Document:
    return {
        "name": rule.name,
        "limit": bounds_in_words(rule.bounds),
        "ban": rule.is_ban,
        "tiers": {tier: bounds_in_words(bounds) for tier, bounds in rule.tiers.items()},
        "match": match_in_words(rule.match),
        "except": None if rule.unless is None else match_in_words(rule.unless),
        "by": [str(part) for part in rule.by],
        "count": "connections" if rule.connections else "requests",
        "verdict": str(rule.verdict),
        "mode": str(rule.mode),
        "percent": f"{rule.share * 100:g}%",
        "at": str(rule.at),
        "scope": str(rule.scope),
        "where": str(settings.where("limits", rule.name) or ""),
    }
