from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from moreton.gateway.core.limits import (
    is_for_gateway,
    is_for_route,
    limits_of,
    proxy_problems,
)
from moreton.gateway.core.model import Destination, Route, RouteMatch
from moreton.kernel.patterns import PathKind, PathPattern, ValueMatch, ValueMatchKind
from moreton.kernel.quantities import parse_rate
from moreton.ratelimit.core.calendar import Span
from moreton.ratelimit.core.rules.bounds import (
    AdmissionBound,
    Algorithm,
    Bound,
    QuotaBound,
    RateBound,
    WorkBound,
)
from moreton.ratelimit.core.rules.values import (
    Cost,
    LimitRule,
    Match,
    Mode,
    Part,
    Place,
    Scope,
    Trait,
    Verdict,
)

RATE = RateBound(parse_rate("10/s"), 10)
RULE = LimitRule("one", (RATE,))
ADDRESSES = (ip_network("192.0.2.0/24"),)


def rule(*bounds: Bound, **rest: Any) -> LimitRule:
    return LimitRule("one", bounds or (RATE,), **rest)


def route(name: str, *services: str) -> Route:
    match = RouteMatch(PathPattern(PathKind.PREFIX, "/*", ""))
    return Route(name, match, to=tuple(map(Destination, services)))


@pytest.mark.parametrize(
    "kept",
    [
        rule(),
        LimitRule("ban", ()),
        rule(RATE, RateBound(parse_rate("100/min"), 5, Algorithm.TOKEN_BUCKET)),
        rule(by=tuple(Part(each) for each in (Trait.ADDRESS, Trait.ROUTE, Trait.PATH))),
        rule(match=Match(addresses=ADDRESSES), unless=Match(methods=frozenset(["GET"]))),
        rule(WorkBound(None), match=Match(services=frozenset(["a"]))),
        rule(AdmissionBound()),
        rule(connections=True, verdict=Verdict.DROP, match=Match(gateways=frozenset(["g"]))),
        rule(QuotaBound(10, Span.DAY), scope=Scope.EXACT),
        rule(QuotaBound(10, Span.DAY), at=Place.SERVICE),
    ],
)
def test_rule_that_a_proxy_can_keep_has_no_problem(kept: LimitRule) -> None:
    assert proxy_problems(kept) == []


@pytest.mark.parametrize(
    ("refused", "what"),
    [
        (rule(QuotaBound(10, Span.DAY)), "keeps no calendar"),
        (rule(RateBound(parse_rate("10/s"), 10, Algorithm.SLIDING_LOG)), "does not count by"),
        (rule(RateBound(parse_rate("10/s"), 2**32)), "counts to 4294967295"),
        (rule(by=(Part(Trait.TIER),)), "does not know the tier"),
        (rule(match=Match(countries=frozenset(["DE"]))), "does not know the countries"),
        (rule(cost=Cost(1, header="x-cost", most=9)), "charges every request the same"),
        (rule(verdict=Verdict.DELAY), "lets no request wait"),
        (rule(shed=True), "criticality"),
        (rule(tiers={"paid": None}), "tier of a client"),
        (
            rule(unless=Match(routes=frozenset(["a"]), methods=frozenset(["GET"]))),
            "looks at one alone",
        ),
        (rule(WorkBound(5), by=(Part(Trait.ADDRESS),)), "all clients together"),
        (rule(WorkBound(5), match=Match(addresses=ADDRESSES)), "by addresses"),
        (rule(WorkBound(5), mode=Mode.SHADOW), "cannot only count"),
        (rule(AdmissionBound(), verdict=Verdict.DROP), "does not drop"),
        (rule(RATE, WorkBound(5)), "in a rule by itself"),
        (rule(connections=True, by=(Part(Trait.ADDRESS),)), "all its connections together"),
        (rule(connections=True, match=Match(addresses=ADDRESSES)), "by addresses"),
        (rule(connections=True, share=0.5), "cannot only count"),
        (rule(WorkBound(None), connections=True), "connections have a rate"),
        (LimitRule("one", (), connections=True), "no connection at all"),
    ],
)
def test_rule_that_a_proxy_cannot_keep_is_refused_with_what_to_do(
    refused: LimitRule, what: str
) -> None:
    problems = proxy_problems(refused)
    assert any(what in said for said, _ in problems), problems
    assert all(todo for _, todo in problems)


def test_rule_is_for_the_gateways_that_it_names_and_not_for_those_that_it_excepts() -> None:
    named = rule(match=Match(gateways=frozenset(["public"])))
    assert is_for_gateway(named, "public")
    assert not is_for_gateway(named, "inner")
    excepted = rule(unless=Match(gateways=frozenset(["inner"])))
    assert [is_for_gateway(excepted, name) for name in ("public", "inner")] == [True, False]
    assert is_for_gateway(RULE, "public")


def test_rule_is_for_routes_by_name_and_by_service() -> None:
    a, b = route("a", "shop"), route("b", "shop", "news")
    assert is_for_route(rule(match=Match(routes=frozenset("a"))), a)
    assert not is_for_route(rule(match=Match(routes=frozenset("a"))), b)
    assert is_for_route(rule(match=Match(services=frozenset(["news"]))), b)
    assert not is_for_route(rule(unless=Match(services=frozenset(["news"]))), b)
    assert is_for_route(rule(unless=Match(services=frozenset(["news"]))), a)


def test_proxies_look_at_bans_first_and_at_the_slowest_next() -> None:
    slow = replace(RULE, name="slow", bounds=(RateBound(parse_rate("1/h"), 1),))
    ban = LimitRule("zero", ())
    elsewhere = replace(RULE, name="elsewhere", scope=Scope.EXACT)
    condition = ValueMatch("x-a", ValueMatchKind.PRESENT)
    other = rule(match=Match(headers=(condition,), gateways=frozenset(["inner"])))
    found = limits_of([RULE, slow, elsewhere, ban, replace(other, name="other")], "public")
    assert [one.name for one in found] == ["zero", "slow", "one"]
