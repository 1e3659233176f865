"""However it was reached, what is compiled is what a compiler makes of the last values alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from moreton.envoy.core.resources import Resource, ResourceKey
from moreton.gateway.compile import GatewayCompiler, Tracing
from moreton.gateway.core.model import (
    Address,
    Cors,
    Destination,
    Endpoint,
    Gateway,
    Listener,
    Mirror,
    Route,
    Service,
)
from support.route_sets import random_match

NAMES = tuple("abcd")
SEEDS = st.integers(min_value=0, max_value=2**32)
GATEWAYS = ("public", "inside")
LISTENERS = tuple(Listener(Address("127.0.0.1", port)) for port in (8080, 8081))
PLACES = (
    (),
    (Address("127.0.0.1", 1),),
    (Address("127.0.0.1", 1), Address("::1", 2)),
    (Address("app.internal", 1),),
)


def random_route(random: Random, name: str) -> Route:
    services = random.sample(NAMES, random.choice((1, 1, 2, 3)))
    gateways = random.choice(((), (), GATEWAYS[:1], GATEWAYS[1:]))
    return Route(
        name,
        random_match(random),
        gateways=frozenset(gateways),
        to=tuple(Destination(one, random.randint(1, 3)) for one in services),
        mirrors=random.choice(((), (), (Mirror("d"),))),
        cors=random.choice((None, None, Cors(("*",)))),
    )


@dataclass
class World:
    """A compiler, what was taken from it, and the values that it should stand for."""

    compiler: GatewayCompiler = field(default_factory=GatewayCompiler)
    taken: dict[ResourceKey, Resource] = field(default_factory=dict)
    tracing: Tracing | None = None
    gateways: dict[str, Gateway] = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)
    members: dict[str, tuple[Address, ...]] = field(default_factory=dict)
    routes: dict[str, Route] = field(default_factory=dict)
    weights: dict[str, Mapping[str, int]] = field(default_factory=dict)

    def step(self, random: Random) -> None:
        """One change."""
        random.choice(
            (
                self.put_route,
                self.put_route,
                self.put_route,
                self.remove_route,
                self.put_weights,
                self.put_service,
                self.remove_service,
                self.put_endpoints,
                self.put_gateway,
                self.remove_gateway,
                self.put_tracing,
            )
        )(random)

    def put_route(self, random: Random) -> None:
        name = f"r{random.randint(0, 11)}"
        before = self.routes.get(name)
        # Often a small change of what is there: its hosts, its path, its gateways stay.
        if before is not None and random.random() < 0.5:
            route = replace(before, websocket=not before.websocket)
        else:
            route = random_route(random, name)
        self.routes[name] = route
        self.weights.pop(name, None)
        self.compiler.put_route(route)

    def remove_route(self, random: Random) -> None:
        name = f"r{random.randint(0, 11)}"
        self.routes.pop(name, None)
        self.weights.pop(name, None)
        self.compiler.remove_route(name)

    def put_weights(self, random: Random) -> None:
        several = [route for route in self.routes.values() if len(route.to) > 1]
        if several:
            route = random.choice(several)
            shares = {to.service: random.randint(0, 3) for to in route.to}
            shares[route.to[0].service] += 1
            self.weights[route.name] = shares
            self.compiler.put_weights(route.name, shares)

    def put_service(self, random: Random) -> None:
        name = random.choice(NAMES)
        places = random.choice(PLACES)
        service = Service(name, places, discover=None if places else name)
        self.services[name] = service
        if is_named(service):
            self.members.pop(name, None)
        elif places:
            self.members[name] = places
        else:
            self.members.setdefault(name, ())
        self.compiler.put_service(service)

    def remove_service(self, random: Random) -> None:
        name = random.choice(NAMES)
        self.services.pop(name, None)
        self.members.pop(name, None)
        self.compiler.remove_service(name)

    def put_endpoints(self, random: Random) -> None:
        places = random.choice(PLACES[:3])
        for name in random.sample(sorted(self.services), min(1, len(self.services))):
            if not is_named(self.services[name]):
                self.members[name] = places
            self.compiler.put_endpoints(name, [Endpoint(one) for one in places])

    def put_gateway(self, random: Random) -> None:
        name = random.choice(GATEWAYS)
        listeners = random.choice((LISTENERS[:1], LISTENERS, LISTENERS[1:]))
        log = random.choice((None, "stdout"))
        self.gateways[name] = Gateway(name, listeners, access_log=log)
        self.compiler.put_gateway(self.gateways[name])

    def remove_gateway(self, random: Random) -> None:
        name = random.choice(GATEWAYS)
        self.gateways.pop(name, None)
        self.compiler.remove_gateway(name)

    def put_tracing(self, random: Random) -> None:
        self.tracing = random.choice((None, Tracing("http://127.0.0.1:4318")))
        self.compiler.put_tracing(self.tracing)

    def take(self) -> None:
        changed, removed = self.compiler.take()
        for key in removed:
            del self.taken[key]
        for resource in changed:
            before = self.taken.get(resource.key)
            assert before != resource, "unchanged, and handed out again"
            self.taken[resource.key] = resource

    def afresh(self) -> dict[ResourceKey, Resource]:
        """What a new compiler makes of the values, told in another order."""
        compiler = GatewayCompiler(self.tracing)
        for route in reversed(self.routes.values()):
            compiler.put_route(route)
        for name, shares in self.weights.items():
            compiler.put_weights(name, shares)
        for name, service in reversed(self.services.items()):
            compiler.put_service(service)
            if name in self.members:
                compiler.put_endpoints(name, [Endpoint(one) for one in self.members[name]])
        for gateway in reversed(self.gateways.values()):
            compiler.put_gateway(gateway)
        return {resource.key: resource for resource in compiler.take()[0]}


def is_named(service: Service) -> bool:
    return any(address.host == "app.internal" for address in service.addresses)


@settings(max_examples=100, deadline=None)
@given(
    seed=SEEDS, changes=st.lists(st.integers(min_value=1, max_value=12), min_size=1, max_size=12)
)
def test_incremental_compile_equals_full_compile(seed: int, changes: list[int]) -> None:
    world, random = World(), Random(seed)
    for count in changes:
        for _ in range(count):
            world.step(random)
        world.take()
    assert world.taken == world.afresh()


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, count=st.integers(min_value=1, max_value=60))
def test_changes_that_are_undone_leave_no_trace(seed: int, count: int) -> None:
    world, random = World(), Random(seed)
    for _ in range(20):
        world.step(random)
    world.take()
    before, routes, weights = dict(world.taken), dict(world.routes), dict(world.weights)
    for _ in range(count):
        world.put_route(random)
        world.remove_route(random)
    world.take()
    for name in world.routes.keys() - routes.keys():
        world.compiler.remove_route(name)
    for route in routes.values():
        world.compiler.put_route(route)
    for name, shares in weights.items():
        world.compiler.put_weights(name, shares)
    world.take()
    assert world.taken == before
