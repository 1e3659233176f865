"""How a gateway tells the service of a request: facts, as the entries of one descriptor.

Instead of values that rules were compiled to, the service is told what rules look at, and decides
by the rules themselves: tiers, tokens, keys and places mean there what they mean in a service.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from moreton.ratelimit.core.rules.bounds import WorkBound
from moreton.ratelimit.core.rules.seen import Caller
from moreton.ratelimit.core.rules.values import (
    Clients,
    LimitRule,
    Part,
    Place,
    Scope,
    Trait,
    Verdict,
)
from moreton.ratelimit.rls.core.tree import Entry
from moreton.resilience.core.headers import CRITICALITY

# No file can have it: names of domains that people write have no slash there.
DOMAIN = "moreton/limits"
GATEWAY = "gateway"
GROUP = "group"
METHOD = "method"
PATH = "path"
ADDRESS = "remote_address"  # as Envoy calls it
SERVICE = "service"
ROUTE = "route"
# A header's name follows.
HEADER = "header:"
# The request was answered, and the hits are its status, or what a header of its answer says.
STATUS = "status"
ANSWER = "answer:"
DONE = "done"
# It has ended: whatever it took of limits on work under way is free.
ENDED = "ended"
# What a request that was let in carries, so that it is known again when it ends.
TAKEN = "x-moreton-taken"


@dataclass(frozen=True, slots=True)
class Facts:
    """A request, the *group* of rules that it is held to, and what is *done* if it was answered.

    *taken* is when it was let in.
    """

    caller: Caller
    group: str
    done: str = ""
    taken: int = 0


def facts_of(entries: Iterable[Entry]) -> Facts:
    """What *entries* tell."""
    told: dict[str, str] = {}
    headers: dict[str, str] = {}
    for key, value in entries:
        if key.startswith(HEADER):
            headers[key.removeprefix(HEADER)] = value
        else:
            told[key] = value
    headers.pop("x-forwarded-for", None)  # the proxy read it, by its own trust
    taken = headers.pop(TAKEN, "")
    caller = Caller(
        told.get(METHOD, "GET"),
        told.get(PATH, "/").partition("?")[0],
        headers,
        told.get(ADDRESS, ""),
        gateway=told.get(GATEWAY, ""),
        service=told.get(SERVICE, ""),
        route=told.get(ROUTE, ""),
    )
    return Facts(
        caller, told.get(GROUP, ""), told.get(DONE, ""), int(taken) if taken.isdecimal() else 0
    )


def wanted_headers(rules: Iterable[LimitRule], clients: Clients) -> frozenset[str]:
    """The headers of a request that *rules* look at, lower case."""
    found = {"host"}
    parts: set[Part] = set()
    by_key = by_token = by_tier = False
    for rule in rules:
        parts.update(rule.by)
        by_tier |= bool(rule.tiers)
        if rule.cost.header:
            found.add(rule.cost.header)
        if rule.shed and rule.criticality is None:
            found.add(CRITICALITY)
        for match in (rule.match, rule.unless):
            if match is not None:
                found.update(one.name.lower() for one in match.headers)
                by_key |= bool(match.api_keys)
                by_token |= bool(match.claims)
                by_tier |= bool(match.tiers)
    if by_tier or any(part.trait is Trait.TIER for part in parts):
        parts.update(clients.tier_from)
    found.update(part.name for part in parts if part.trait is Trait.HEADER)
    if by_key or any(part.trait is Trait.API_KEY for part in parts):
        found.add(clients.api_key_header)
    if clients.tokens is not None and (by_token or any(p.trait is Trait.JWT for p in parts)):
        found.add(clients.tokens.header)
    return frozenset(found)


def is_asked_for(rule: LimitRule) -> bool:
    """Whether gateways ask for each request of *rule*."""
    return rule.at is Place.GATEWAY and rule.scope is Scope.EXACT and not rule.connections


def asked_problems(rule: LimitRule) -> list[tuple[str, str]]:
    """Why gateways cannot hold *rule* by asking, each with what to do; none when they can."""
    if is_asked_for(rule) and rule.verdict is Verdict.DROP:
        what = "a gateway that asks answers what is too many, it ends no connection"
        return [(what, "write `verdict: reject`, or `scope: local`")]
    return []


def is_reported(rule: LimitRule) -> bool:
    """Whether it is told when a request of *rule* has ended."""
    return rule.cost.is_of_answers or has_work(rule)


def has_work(rule: LimitRule) -> bool:
    """Whether *rule* counts work under way."""
    every = [rule.bounds, *rule.tiers.values()]
    return any(isinstance(one, WorkBound) for bounds in every for one in bounds or ())


def group_of(rule: LimitRule) -> str:
    """Rules of one group are decided together: they fail alike, and refuse with one status."""
    return f"{round(rule.outage.refuse * 100)}-{rule.status}"
