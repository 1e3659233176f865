"""All rules that the proxies keep by themselves, and what of them a gateway and a route need."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from envoy.config.route.v3 import route_components_pb2 as routes_pb2

from moreton.envoy.core.resources import Resource
from moreton.envoy.messages import any_of
from moreton.envoy.wire import serialize
from moreton.gateway.compile.limits.bans import ban_filters
from moreton.gateway.compile.limits.chain import chain, limit_filters
from moreton.gateway.compile.limits.connections import connection_resources
from moreton.gateway.compile.limits.exact import ASKED_KEY, exact_filters, exact_rules
from moreton.gateway.compile.limits.local import filter_name
from moreton.gateway.compile.limits.requests import METADATA, YES
from moreton.gateway.compile.limits.shares.charges import turned_on
from moreton.gateway.compile.limits.shares.told import ToldShares
from moreton.gateway.compile.limits.shedding import not_skipped
from moreton.gateway.core.limits import (
    bans_chain_name,
    chain_name,
    is_for_gateway,
    is_for_route,
    is_of_routes,
    is_shedding,
    kept_by_proxies,
    limits_of,
    route_chain_name,
)
from moreton.gateway.core.model import Route
from moreton.gateway.core.places import PLACES, places
from moreton.gateway.core.quotas import is_shared
from moreton.ratelimit.core.rules.values import Ban, Clients, Counters, LimitRule


class HeldLimits:
    """The rules by name, and how clients are told apart."""

    def __init__(self) -> None:
        self.clients = Clients()
        self.bans: tuple[Ban, ...] = ()
        self.only_v4: set[str] = set()  # gateways whose clients have no other addresses
        self.budget = Counters().budget
        self.shares = ToldShares()
        self.stale = False  # whether some routes' rules, or their places, may be others now
        self._rules: dict[str, LimitRule] = {}
        self._of_routes: list[LimitRule] = []  # those that the proxies keep for some routes
        self._under: dict[str, tuple[frozenset[str], frozenset[str]]] = {}  # by the route's name
        self._places: dict[str, dict[str, int]] = {}  # by gateway and rule, since they were settled

    @property
    def asks(self) -> bool:
        """Whether the service is asked about requests."""
        return bool(exact_rules(self._rules.values()))

    def get(self, name: str) -> LimitRule | None:
        """The rule *name*."""
        return self._rules.get(name)

    def put(self, rule: LimitRule) -> None:
        """Add or replace a rule."""
        before = self._rules.get(rule.name)
        self.stale |= is_of_routes(rule) or (before is not None and is_of_routes(before))
        self._rules[rule.name] = rule
        self._note_those_of_routes()

    def remove(self, name: str) -> LimitRule | None:
        """Take a rule out, and return it."""
        rule = self._rules.pop(name, None)
        self._note_those_of_routes()
        self.stale |= rule is not None and is_of_routes(rule)
        return rule

    def put_route(self, route: Route) -> None:
        """Note which rules *route* is under: several are to be in the same place."""
        wanted = self._wanted(route)
        several = len(wanted) > 1
        noted = (route.gateways, frozenset(rule.name for rule in wanted)) if several else None
        if noted != self._under.get(route.name):
            self.remove_route(route.name)
            if noted is not None:
                self._under[route.name] = noted
            self.stale = True

    def remove_route(self, name: str) -> None:
        """The route *name* is gone."""
        self.stale |= self._under.pop(name, None) is not None

    def settle(self, gateways: Iterable[str], routes: Iterable[Route]) -> list[str]:
        """Give the rules their places, by all there is; returns the gateways where some moved."""
        for route in routes:
            self.put_route(route)
        before, self._places = self._places, {name: self._places_at(name) for name in gateways}
        self.stale = False
        return [name for name, found in self._places.items() if found != before.get(name, {})]

    def banned(self, gateway: str) -> Resource:
        """What keeps out of *gateway* who is banned."""
        return chain(bans_chain_name(gateway), ban_filters(self.bans))

    def chains(self, gateway: str) -> list[Resource]:
        """The filters of *gateway*: bans, of all requests, of some routes, of connections."""
        kept = limits_of(self._rules.values(), gateway)
        rules = [rule for rule in kept if not rule.connections]
        of_all = [rule for rule in rules if not is_of_routes(rule)]
        asked = [one for one in exact_rules(self._rules.values()) if is_for_gateway(one, gateway)]
        # After those of the proxy itself: what they refuse nobody is asked about.
        v4 = gateway in self.only_v4
        asking = list(exact_filters(asked, self.clients, gateway, self.budget))
        needs = [ASKED_KEY] if asking else []
        return [
            self.banned(gateway),
            chain(
                chain_name(gateway),
                [*limit_filters(of_all, self.clients, gateway, only_v4=v4), *asking],
                needs,
            ),
            *self._in_places(gateway, [rule for rule in rules if is_of_routes(rule)]),
            *connection_resources(gateway, [rule for rule in kept if rule.connections]),
        ]

    def charges(self, gateway: str) -> list[Resource]:
        """What a request to *gateway* is charged by the rules that it shares with others."""
        return self.shares.charges(gateway, self._shared(gateway))

    def turned_on(self, gateway: str) -> bytes:
        """The part of *gateway*'s `RouteConfiguration` that has requests charged."""
        shared = self._shared(gateway)
        lent = any(not rule.outage.keep for rule in shared)
        return turned_on(gateway, kept=bool(shared), lent=lent)

    def _shared(self, gateway: str) -> list[LimitRule]:
        return [rule for rule in limits_of(self._rules.values(), gateway) if is_shared(rule)]

    def on_here(self, route: Route, gateways: Iterable[str]) -> bytes:
        """The part of a `Route` that puts *route* under its rules at *gateways*.

        It turns the filters of routes on, and tells them which rules are meant: a filter that is
        there before all routes were told counts nobody yet.
        """
        wanted = self._wanted(route)
        if not wanted:
            return b""
        out = routes_pb2.Route()
        names = [rule.name for rule in wanted]
        out.metadata.filter_metadata[METADATA].update(dict.fromkeys(names, YES))
        for rule in filter(is_shedding, wanted):
            out.typed_per_filter_config[filter_name(rule.name)].CopyFrom(not_skipped())
        on = routes_pb2.FilterConfig()
        on.config.SetInParent()
        for gateway in gateways:
            if not route.gateways or gateway in route.gateways:
                known = self._places.get(gateway, {})
                for place in sorted({known[name] for name in names if name in known}):
                    name = route_chain_name(gateway, place)
                    out.typed_per_filter_config[name].CopyFrom(any_of(on))
        return serialize(out)

    def _wanted(self, route: Route) -> list[LimitRule]:
        """The rules for some routes that *route* is under, at some gateway."""
        return [rule for rule in self._of_routes if is_for_route(rule, route)]

    def _note_those_of_routes(self) -> None:
        rules = self._rules.values()
        self._of_routes = [each for each in rules if kept_by_proxies(each) and is_of_routes(each)]

    def _in_places(self, gateway: str, rules: Collection[LimitRule]) -> Iterator[Resource]:
        """The filters of *rules* for some routes, for each place those that are there."""
        known, v4 = self._places.get(gateway, {}), gateway in self.only_v4
        for place in range(PLACES):
            there = [rule for rule in rules if known.get(rule.name) == place]
            filters = limit_filters(there, self.clients, gateway, only_v4=v4)
            yield chain(route_chain_name(gateway, place), filters)

    def _places_at(self, gateway: str) -> dict[str, int]:
        kept = limits_of(self._rules.values(), gateway)
        rules = [rule.name for rule in kept if is_of_routes(rule) and not rule.connections]
        here = [one for at, one in self._under.values() if not at or gateway in at]
        return places(rules, here)
