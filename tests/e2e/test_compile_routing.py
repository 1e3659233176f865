"""What a real Envoy does with compiled routes is what the dumb twin in Python says."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest

from moreton.config.words import read_path
from moreton.gateway.compile import GatewayCompiler
from moreton.gateway.core.explain import Request, explain
from moreton.gateway.core.model import (
    Address,
    Destination,
    Gateway,
    HeaderChanges,
    Listener,
    Route,
    RouteMatch,
    Service,
)
from moreton.kernel.patterns import ValueMatch, ValueMatchKind
from support.echo import echo_server
from support.route_sets import path_as_envoy_has_it, random_request, random_routes
from support.static_envoy import StaticEnvoy, static_envoy

pytestmark = pytest.mark.e2e

GATEWAYS = 12
ROUTES = 40
REQUESTS = 350


def route_sets() -> dict[str, list[Route]]:
    """A set of routes for each gateway; each says its name in the answer."""
    return {
        f"g{seed}": [
            replace(
                route,
                name=f"g{seed}-{route.name}",
                gateways=frozenset([f"g{seed}"]),
                response_headers=HeaderChanges(set={"x-route": f"g{seed}-{route.name}"}),
            )
            for route in random_routes(Random(seed), ROUTES, "echo")
        ]
        for seed in range(GATEWAYS)
    }


@pytest.fixture(scope="module")
def envoy() -> Iterator[StaticEnvoy]:
    with echo_server() as echo:
        compiler = GatewayCompiler()
        compiler.put_service(Service("echo", addresses=(Address("127.0.0.1", echo.port),)))
        for name, routes in route_sets().items():
            compiler.put_gateway(Gateway(name, (Listener(Address("127.0.0.1", 0)),)))
            for route in routes:
                compiler.put_route(route)
        changed, _ = compiler.take()
        with static_envoy(changed) as running:
            yield running


@pytest.mark.parametrize("seed", range(GATEWAYS))
def test_envoy_takes_the_route_that_the_twin_takes(envoy: StaticEnvoy, seed: int) -> None:
    routes = route_sets()[f"g{seed}"]
    random = Random(1000 + seed)
    connection = http.client.HTTPConnection("127.0.0.1", envoy.ports[f"g{seed}/0"], timeout=10)
    winners = set()
    with contextlib.closing(connection):
        for _ in range(REQUESTS):
            method, target, headers = random_request(random)
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            answer.read()
            path, _, query = target.partition("?")
            request = replace(
                Request.of(method, f"/?{query}", headers), path=path_as_envoy_has_it(path)
            )
            winner = explain(routes, request).winner
            expected = (200, winner.name) if winner else (404, None)
            asked = f"seed {seed}: {method} {target} {headers}"
            assert (answer.status, answer.getheader("x-route")) == expected, asked
            winners.add(expected)
    # Many routes were seen: the test compares something.
    assert len(winners) > 8


SPELLED = {
    "rest": "/*",
    "plain": "/a/*",
    "accent": "/café/*",
    "quote": '/q"t',
    "space": "/b%20c",
    "template": "/t/{x}/é",
    "tilde": "/%7Eu",
}
QUERIED = {"sent": "1", "spaced": "a b"}
HOW_SPELLED = [
    ("/%61/x", "plain"),
    ("/a//..", "plain"),
    ("/a/../%61", "plain"),
    ("/x/%2e%2e/a", "plain"),
    ("/x\\..\\a", "plain"),
    ("/caf%C3%A9", "accent"),
    ("/caf%c3%a9/x", "accent"),
    ("/q%22t", "quote"),
    ('/q"t', "quote"),
    ("/b%20c", "space"),
    ("/t/1/%c3%A9", "template"),
    ("/~u", "tilde"),
    ("/%7eu", "tilde"),
    ("/z?p=1&p=2", "sent"),
    ("/z?p=2&p=1", "rest"),
    ("/z?p=%31", "rest"),
    ("/z?%70=1", "rest"),
    ("/z?p=a+b", "spaced"),
    ("/z?p=a%20b", "spaced"),
]


@pytest.fixture(scope="module")
def spelling() -> Iterator[tuple[StaticEnvoy, list[Route]]]:
    hosts = frozenset(["shop.example"])
    matches = {name: RouteMatch(read_path(path), hosts) for name, path in SPELLED.items()}
    for name, value in QUERIED.items():
        query = (ValueMatch("p", ValueMatchKind.EXACT, value),)
        matches[name] = RouteMatch(read_path("/z"), hosts, query=query)
    routes = [
        Route(
            name,
            match,
            to=(Destination("echo"),),
            response_headers=HeaderChanges(set={"x-route": name}),
        )
        for name, match in matches.items()
    ]
    with echo_server() as echo:
        compiler = GatewayCompiler()
        compiler.put_service(Service("echo", addresses=(Address("127.0.0.1", echo.port),)))
        compiler.put_gateway(Gateway("spelling", (Listener(Address("127.0.0.1", 0)),)))
        for route in routes:
            compiler.put_route(route)
        changed, _ = compiler.take()
        with static_envoy(changed) as running:
            yield running, routes


@pytest.mark.parametrize(("target", "name"), HOW_SPELLED)
def test_explain_reads_a_target_as_envoy_does(
    spelling: tuple[StaticEnvoy, list[Route]], target: str, name: str
) -> None:
    envoy, routes = spelling
    connection = http.client.HTTPConnection("127.0.0.1", envoy.ports["spelling/0"], timeout=10)
    with contextlib.closing(connection):
        connection.putrequest("GET", target, skip_host=True)
        connection.putheader("host", "shop.example:")
        connection.endheaders()
        assert connection.getresponse().getheader("x-route") == name
    winner = explain(routes, Request.of("GET", target, {"Host": "shop.example:"})).winner
    assert winner is not None
    assert winner.name == name
