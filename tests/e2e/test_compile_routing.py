"""What a real Envoy does with compiled routes is what the dumb twin in Python says."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest

from moreton.gateway.compile import GatewayCompiler
from moreton.gateway.core.explain import Request, explain
from moreton.gateway.core.model import Address, Gateway, HeaderChanges, Listener, Route, Service
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
