"""Compiled rules against a twin that tries each condition of each rule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from moreton.config.words import read_path
from moreton.kernel.patterns import ValueMatch, ValueMatchKind
from moreton.kernel.quantities import Rate
from moreton.ratelimit.core.rules.bans import BanIndex, in_force
from moreton.ratelimit.core.rules.bounds import RateBound
from moreton.ratelimit.core.rules.compiled import RuleSet, explain
from moreton.ratelimit.core.rules.conflicts import covers
from moreton.ratelimit.core.rules.matching import lost
from moreton.ratelimit.core.rules.seen import Caller, Seen, Teller, joined
from moreton.ratelimit.core.rules.values import (
    Ban,
    Clients,
    Hours,
    LimitRule,
    Match,
    Part,
    Tier,
    Trait,
)

PATHS = ["/*", "/a", "/a/*", "/a/b", "/a/b/*", "/a/{id}", "/a/{id}/*", "/{id}", "/ab"]
ASKED = ["/", "/a", "/a/", "/a/b", "/a/b/c", "/a/c", "/ab", "/b", "/a/b/c/d", "/c/a"]
ADDRESSES = ["10.0.0.1", "10.0.1.1", "192.0.2.1", "2001:db8::1"]
NETWORKS = ["10.0.0.0/8", "10.0.0.0/24", "192.0.2.1", "2001:db8::/32"]
TIERS = {"free": Tier("free"), "paid": Tier("paid"), "gold": Tier("gold", "paid")}
BOUNDS = (RateBound(Rate(1, timedelta(seconds=1)), 1),)


def some(values: list[str]) -> st.SearchStrategy[list[str]]:
    return st.one_of(st.just([]), st.lists(st.sampled_from(values), max_size=3, unique=True))


matches = st.builds(
    lambda paths, methods, tiers, addresses, header, hours: Match(
        paths=tuple(map(read_path, paths)),
        methods=frozenset(methods),
        tiers=frozenset(tiers),
        addresses=tuple(map(ip_network, addresses)),
        headers=(ValueMatch("x-a", ValueMatchKind.PREFIX, "1"),) if header else (),
        hours=(Hours(*hours),) if hours else (),
    ),
    some(PATHS),
    some(["GET", "POST"]),
    some(["free", "paid", "gold"]),
    some(NETWORKS),
    st.booleans(),
    st.none() | st.sampled_from([(0, 600), (600, 1440), (1320, 360)]),
)
requests = st.builds(
    lambda path, method, tier, address, header, hour: Teller(
        Clients(tiers=TIERS, tier_from=(Part(Trait.HEADER, "x-tier"),))
    ).see(
        Caller(method, path, {"x-a": header, "x-tier": tier}, address),
        datetime(2026, 11, 26, hour, 30, tzinfo=UTC),
    ),
    st.sampled_from(ASKED),
    st.sampled_from(["GET", "POST", "PUT"]),
    st.sampled_from(["free", "paid", "gold", "?"]),
    st.sampled_from(ADDRESSES),
    st.sampled_from(["1", "12", "2"]),
    st.integers(0, 23),
)


@settings(max_examples=40)
@given(st.lists(st.tuples(matches, st.none() | matches), max_size=6), requests)
def test_an_index_finds_the_rules_that_trying_each_one_does(
    conditions: list[tuple[Match, Match | None]], seen: Seen
) -> None:
    rules = [
        LimitRule(f"r{number}", BOUNDS, match, unless)
        for number, (match, unless) in enumerate(conditions)
    ]
    found = [one.rule.name for one in RuleSet(rules, TIERS).under(seen)]
    assert found == [rule.name for rule in rules if explain(rule, seen).applied is not None]


@settings(max_examples=40)
@given(matches, matches, requests)
def test_what_covers_a_match_matches_all_of_it(wide: Match, narrow: Match, seen: Seen) -> None:
    if covers(wide, narrow) and not list(lost(narrow, seen, UTC)):
        assert not list(lost(wide, seen, UTC))


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from(NETWORKS), st.none() | st.integers(0, 23)), max_size=5),
    requests,
)
def test_a_ban_is_found_as_by_looking_at_each(
    bans: list[tuple[str, int | None]], seen: Seen
) -> None:
    made = [
        Ban(
            Part(Trait.ADDRESS),
            str(ip_network(network)),
            None if hour is None else datetime(2026, 11, 26, hour, tzinfo=UTC),
        )
        for network, hour in bans
    ]
    assert seen.parsed is not None
    expected = any(in_force(ban, seen.now) and seen.parsed in ip_network(ban.value) for ban in made)
    assert (BanIndex(made).ban_of(seen) is not None) is expected


@settings(max_examples=40)
@given(st.lists(st.text("a|%\x00é", max_size=5), min_size=2, max_size=3), st.data())
def test_different_values_make_different_keys(values: list[str], data: st.DataObject) -> None:
    other = data.draw(
        st.lists(st.text("a|%\x00é", max_size=5), min_size=len(values), max_size=len(values))
    )
    assert (joined(values) == joined(other)) is (values == other)
