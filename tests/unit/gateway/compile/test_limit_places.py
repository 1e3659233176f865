"""Limits of routes: each route passes those of its own place alone, and none other begins anew."""

from __future__ import annotations

from dataclasses import replace

from envoy.config.route.v3 import route_pb2
from google.protobuf import json_format

from moreton.config.words import read_path
from moreton.envoy.core.resources import Resource, ResourceKey, TypeUrl
from moreton.gateway.compile import GatewayCompiler
from moreton.gateway.core.limits import route_chain_name, route_chain_names
from moreton.gateway.core.model import (
    Address,
    Destination,
    Gateway,
    Listener,
    Route,
    RouteMatch,
    Service,
)
from moreton.kernel.quantities import parse_rate
from moreton.ratelimit.core.rules.bounds import RateBound
from moreton.ratelimit.core.rules.values import LimitRule, Match

NAMES = ("carts", "orders", "search")
TABLE = ResourceKey(TypeUrl.ROUTES, "public")


def rule(name: str, *routes: str, burst: int = 5) -> LimitRule:
    bounds = (RateBound(parse_rate("5/s"), burst),)
    return LimitRule(name, bounds, match=Match(routes=frozenset(routes or [name])))


def route(name: str) -> Route:
    return Route(name, RouteMatch(read_path(f"/{name}")), to=(Destination("shop"),))


def limited() -> tuple[GatewayCompiler, dict[ResourceKey, Resource]]:
    compiler = GatewayCompiler()
    compiler.put_gateway(Gateway("public", (Listener(Address("127.0.0.1", 8080)),)))
    compiler.put_service(Service("shop", (Address("127.0.0.1", 8000),)))
    for name in (*NAMES, "free"):
        compiler.put_route(route(name))
    for name in NAMES:
        compiler.put_limit(rule(name))
    return compiler, {one.key: one for one in compiler.take()[0]}


def rules_at(found: dict[ResourceKey, Resource]) -> dict[str, list[str]]:
    """By place the rules that have a filter there."""
    bodies = {
        name: found[ResourceKey(TypeUrl.EXTENSION, name)].body
        for name in route_chain_names("public")
    }
    return {
        name: [one for one in (*NAMES, "both") if f"limits.{one}:enabled".encode() in body]
        for name, body in bodies.items()
    }


def turned_on(table: Resource) -> dict[str, list[str]]:
    """By route the places that it turns on."""
    whole = json_format.MessageToDict(route_pb2.RouteConfiguration.FromString(table.body))
    found: dict[str, list[str]] = {}

    def look(at: object) -> None:
        if isinstance(at, dict):
            if at.get("@type", "").endswith("route.v3.Route"):
                on = at.get("typedPerFilterConfig", {})
                found[at["name"]] = [name for name in on if name.startswith("route-limits/")]
            for value in at.values():
                look(value)
        elif isinstance(at, list):
            for value in at:
                look(value)

    look(whole)
    return found


def test_each_route_turns_on_the_place_of_its_rule_alone() -> None:
    _, found = limited()
    there = {names[0]: place for place, names in rules_at(found).items() if names}
    assert sorted(there) == sorted(NAMES)
    assert turned_on(found[TABLE]) == {**{name: [there[name]] for name in NAMES}, "free": []}


def test_change_of_a_rule_changes_its_own_place_alone() -> None:
    compiler, found = limited()
    there = {names[0]: place for place, names in rules_at(found).items() if names}
    compiler.put_limit(rule("orders", burst=6))
    changed, _ = compiler.take()
    assert [one.key.name for one in changed if one.key.type_url is TypeUrl.EXTENSION] == [
        there["orders"]
    ]


def test_rules_that_a_route_is_under_come_to_one_place_and_part_again() -> None:
    compiler, found = limited()
    compiler.put_limit(rule("both", "carts", "search"))
    found |= {one.key: one for one in compiler.take()[0]}
    (together,) = [place for place, names in rules_at(found).items() if "both" in names]
    assert rules_at(found)[together] == ["carts", "search", "both"]
    on = turned_on(found[TABLE])
    assert on["carts"] == on["search"] == [together]
    assert on["orders"] != [together]
    compiler.remove_limit("both")
    found |= {one.key: one for one in compiler.take()[0]}
    assert {len(names) for names in rules_at(found).values()} == {0, 1}


def test_a_route_that_comes_or_goes_brings_its_rules_together_and_apart() -> None:
    compiler, found = limited()
    before = rules_at(found)
    compiler.put_limit(replace(rule("orders"), match=Match(routes=frozenset(["orders", "new"]))))
    compiler.put_limit(replace(rule("search"), match=Match(routes=frozenset(["search", "new"]))))
    compiler.put_route(route("new"))
    found |= {one.key: one for one in compiler.take()[0]}
    assert ["orders", "search"] in rules_at(found).values()
    compiler.remove_route("new")
    found |= {one.key: one for one in compiler.take()[0]}
    assert rules_at(found) == before


def test_places_are_the_same_in_whatever_order_all_came() -> None:
    _, found = limited()
    compiler = GatewayCompiler()
    for name in NAMES:
        compiler.put_limit(rule(name))
    compiler.take()
    for name in NAMES[::-1]:
        compiler.put_route(route(name))
    compiler.put_gateway(Gateway("public", (Listener(Address("127.0.0.1", 8080)),)))
    again = {one.key: one for one in compiler.take()[0]}
    for name in route_chain_names("public"):
        key = ResourceKey(TypeUrl.EXTENSION, name)
        assert again[key].version == found[key].version
    assert route_chain_name("public", 0) in {key.name for key in again}
