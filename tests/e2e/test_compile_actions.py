"""What a real Envoy does with a request once its compiled route was found."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from http.client import HTTPConnection
from typing import Any

import pytest

from moreton.config.words import read_path
from moreton.gateway.compile import GatewayCompiler
from moreton.gateway.core.model import (
    Address,
    Cors,
    Destination,
    Gateway,
    HeaderChanges,
    Listener,
    Mirror,
    Redirect,
    Retries,
    Route,
    RouteMatch,
    Service,
)
from moreton.kernel.patterns import ValueMatch, ValueMatchKind
from support.asking import Answer, ask
from support.echo import Echo, echo_server
from support.static_envoy import StaticEnvoy, static_envoy

pytestmark = pytest.mark.e2e

ONE = (Destination("one"),)


def match(path: str, /, **conditions: Any) -> RouteMatch:
    return RouteMatch(read_path(path), **conditions)


def route(path: str, /, **rest: Any) -> Route:
    name = path.replace("/", "_").replace("*", "all")
    return Route(name, match(path), **{"to": ONE, **rest})


def redirect(path: str, /, **rest: Any) -> Route:
    return route(path, to=(), redirect=Redirect(**rest))


CORS = Cors(
    origins=("https://app.example", "https://*.apps.example"),
    methods=("GET", "PUT"),
    headers=("x-token",),
    expose=("x-answer",),
    credentials=True,
    max_age=timedelta(minutes=10),
)
ROUTES = [
    route("/rewrite/*", rewrite_path="/new"),
    route("/rewrite-slash/*", rewrite_path="/new/"),
    route("/rewrite-root/*", rewrite_path="/"),
    route("/rewrite-exact", rewrite_path="/new"),
    route("/rewrite/{id}/x", rewrite_path="/new"),
    route("/caf\u00e9/*", rewrite_path="/coffee"),
    route("/rewrite-host/*", rewrite_host="internal.example"),
    *(redirect(f"/{code}", status=code, host="new.example") for code in (301, 302, 303, 307, 308)),
    redirect("/redirect/*", path="/new"),
    redirect("/redirect-exact", path="/new"),
    redirect("/secure/*", status=308, scheme="https", port=8443),
    route(
        "/headers",
        request_headers=HeaderChanges({"x-set": "100%"}, {"x-add": "b"}, ("x-remove",)),
        response_headers=HeaderChanges({"x-server": "set"}, {"x-more": "%REQ(HOST)%"}, ("server",)),
    ),
    route("/mirror", mirrors=(Mirror("two"),)),
    route("/mirror-never", mirrors=(Mirror("two", share=0.0),)),
    route("/cors", cors=CORS),
    Route("cors-put", match("/cors-put", methods=frozenset(["PUT"])), to=ONE, cors=CORS),
    route("/cors-any", cors=Cors(("*",))),
    Route("plain-put", match("/plain-put", methods=frozenset(["PUT"])), to=ONE),
    route("/retry", retries=Retries(3, ("503",))),
    route("/once"),
    route("/resolved/*", to=(Destination("named"),)),
    route("/unknown/*", to=(Destination("nobody"),)),
    Route(
        "spaced",
        match("/query", query=(ValueMatch("q", ValueMatchKind.EXACT, "a b+\u00e9/"),)),
        to=ONE,
    ),
    Route(
        "spaced-prefix",
        match("/query", query=(ValueMatch("q", ValueMatchKind.PREFIX, "c d"),)),
        to=ONE,
    ),
]


@dataclass
class World:
    envoy: StaticEnvoy
    one: Echo
    two: Echo

    def ask(self, method: str, target: str, **headers: str) -> Answer:
        return ask(self.envoy.ports["public/0"], method, target, **headers)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with echo_server("one") as one, echo_server("two") as two:
        compiler = GatewayCompiler()
        compiler.put_gateway(Gateway("public", (Listener(Address("127.0.0.1", 0)),)))
        compiler.put_service(Service("one", addresses=(Address("127.0.0.1", one.port),)))
        compiler.put_service(Service("two", addresses=(Address("127.0.0.1", two.port),)))
        compiler.put_service(Service("named", addresses=(Address("localhost", one.port),)))
        for each in ROUTES:
            compiler.put_route(each)
        changed, _ = compiler.take()
        with static_envoy(changed) as envoy:
            yield World(envoy, one, two)


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        ("/rewrite", "/new"),
        ("/rewrite/", "/new/"),
        ("/rewrite/a/b?c=/rewrite", "/new/a/b?c=/rewrite"),
        ("/rewrite-slash", "/new"),
        ("/rewrite-slash/a", "/new/a"),
        ("/rewrite-root", "/"),
        ("/rewrite-root/", "/"),
        ("/rewrite-root/a?b", "/a?b"),
        ("/rewrite-exact", "/new"),
        ("/rewrite-exact?a=b", "/new?a=b"),
        ("/rewrite/5/x?a=b", "/new?a=b"),
        ("/caf%C3%A9/a", "/coffee/a"),
        ("/caf%c3%a9", "/coffee"),
    ],
)
def test_rewrite_replaces_the_prefix_or_the_whole_path(world: World, asked: str, seen: str) -> None:
    assert world.ask("GET", asked).said["target"] == seen


def test_host_rewrite_tells_the_service_the_host_that_was_asked(world: World) -> None:
    headers = world.ask("GET", "/rewrite-host/a", host="shop.example:8080").said["headers"]
    assert headers["host"] == "internal.example"
    assert headers["x-forwarded-host"] == "shop.example:8080"


def test_host_reaches_the_service_with_its_port_when_nothing_rewrites_it(world: World) -> None:
    headers = world.ask("GET", "/once", host="Shop.example:8080").said["headers"]
    assert headers["host"] == "Shop.example:8080"
    assert headers["x-forwarded-proto"] == "http"


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirect_answers_with_its_status(world: World, code: int) -> None:
    answer = world.ask("GET", f"/{code}?a=b")
    assert answer.status == code
    assert answer.headers["location"] == f"http://new.example/{code}?a=b"


@pytest.mark.parametrize(
    ("asked", "location"),
    [
        ("/redirect", "http://gateway.test/new"),
        ("/redirect/a?b=c", "http://gateway.test/new/a?b=c"),
        ("/redirect-exact?b=c", "http://gateway.test/new?b=c"),
        ("/secure/a?b", "https://gateway.test:8443/secure/a?b"),
    ],
)
def test_redirect_keeps_what_it_does_not_change(world: World, asked: str, location: str) -> None:
    assert world.ask("GET", asked).headers["location"] == location


def test_headers_are_set_added_and_removed_as_written(world: World) -> None:
    answer = world.ask("GET", "/headers", x_set="a", x_add="a", x_remove="a")
    seen = answer.said["headers"]
    assert (seen["x-set"], seen["x-add"]) == ("100%", "a, b")
    assert "x-remove" not in seen
    assert answer.headers["x-server"] == "set"
    assert answer.headers["x-more"] == "%REQ(HOST)%"
    assert "server" not in answer.headers


def test_mirror_gets_the_request_as_it_was(world: World) -> None:
    def mirrored() -> int:
        return world.envoy.stats("cluster.two.upstream_rq_completed").get(
            "cluster.two.upstream_rq_completed", 0
        )

    before = mirrored()
    world.ask("GET", "/mirror-never")
    assert world.ask("GET", "/mirror?a=b", host="shop.example").said["server"] == "one"
    while mirrored() == before:
        pass  # the copy's answer comes after ours; the test's time limit ends this
    assert mirrored() == before + 1
    copy = world.two.asked[-1]
    assert (copy["target"], copy["headers"]["host"]) == ("/mirror?a=b", "shop.example")


@pytest.mark.parametrize("path", ["/cors", "/cors-put"])
def test_preflight_is_answered_by_the_gateway(world: World, path: str) -> None:
    asked = {"origin": "https://x.apps.example", "access_control_request_method": "PUT"}
    answer = world.ask("OPTIONS", path, **asked)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "https://x.apps.example"
    assert answer.headers["access-control-allow-methods"] == "GET,PUT"
    assert answer.headers["access-control-allow-headers"] == "x-token"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-max-age"] == "600"


def test_cors_exposes_headers_to_its_origins_alone(world: World) -> None:
    ours = world.ask("GET", "/cors", origin="https://app.example").headers
    theirs = world.ask("GET", "/cors", origin="https://evil.example").headers
    deeper = world.ask("GET", "/cors", origin="https://x.apps.example.evil").headers
    assert ours["access-control-expose-headers"] == "x-answer"
    assert "access-control-allow-origin" not in theirs
    assert "access-control-allow-origin" not in deeper
    anyone = world.ask("GET", "/cors-any", origin="https://evil.example").headers
    assert anyone["access-control-allow-origin"] == "https://evil.example"


def test_preflight_of_a_route_without_cors_finds_no_route(world: World) -> None:
    asked = {"origin": "https://app.example", "access_control_request_method": "PUT"}
    assert world.ask("OPTIONS", "/plain-put", **asked).status == 404
    assert world.ask("OPTIONS", "/cors-put").status == 404
    asked["access_control_request_method"] = "DELETE"
    assert world.ask("OPTIONS", "/cors-put", **asked).status == 404


def test_retries_are_as_many_as_were_asked_for(world: World) -> None:
    before = len(world.one.asked)
    answer = world.ask("GET", "/retry", x_answer="503")
    assert answer.status == 503
    assert len(world.one.asked) - before == 4
    # A caller with retries of its own is told, so that they do not multiply.
    assert answer.headers["x-moreton-attempts"] == "4"
    assert "x-moreton-attempts" not in world.ask("GET", "/once").headers


def test_answer_of_the_service_is_not_retried_by_default(world: World) -> None:
    before = len(world.one.asked)
    assert world.ask("POST", "/once", x_answer="503", content_length="0").status == 503
    assert world.ask("POST", "/once", x_break="1", content_length="0").status == 503
    assert len(world.one.asked) - before == 2


def test_name_of_a_service_is_resolved_by_envoy(world: World) -> None:
    assert world.ask("GET", "/resolved/a").said["target"] == "/resolved/a"


def test_route_to_an_unknown_service_answers_503_and_others_go_on(world: World) -> None:
    assert world.ask("GET", "/unknown/a").status == 503
    assert world.ask("GET", "/once").status == 200


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("q=a%20b%2B%C3%A9%2F", 200),
        ("q=a+b%2b%c3%a9/", 200),
        ("q=a+b+%c3%a9/", 404),
        ("q=c+d-more", 200),
        ("q=c%20d", 200),
        ("q=c", 404),
    ],
)
def test_query_is_compared_as_what_it_means(world: World, query: str, status: int) -> None:
    assert world.ask("GET", f"/query?{query}").status == status


def test_nothing_of_envoy_shows_or_takes_orders(world: World) -> None:
    orders = {"x_envoy_max_retries": "5", "x_envoy_retry_on": "5xx"}
    orders["x_envoy_upstream_rq_timeout_ms"] = "1"
    before = len(world.one.asked)
    answer = world.ask("GET", "/once", x_answer="503", **orders)
    assert len(world.one.asked) - before == 1
    assert answer.headers["server"] == "echo"
    assert "x-request-id" in answer.headers
    assert not [name for name in answer.headers if name.startswith("x-envoy")]
    told = [name for name in answer.said["headers"] if name.startswith("x-envoy")]
    assert told == ["x-envoy-external-address"]  # the client, as the gateway saw it
    assert "server" not in world.ask("GET", "/nowhere").headers


def test_what_is_asked_of_agents_is_taken_out_and_nothing_beside_it(world: World) -> None:
    asked = {"x_moreton_effects": "ask", "X-MORETON-Dry-Run": "POST /", "x_moreton_effect": "no"}
    told = world.ask("GET", "/once", **asked).said["headers"]
    assert {name for name in told if name.startswith("x-moreton")} == {"x-moreton-effect"}


@pytest.mark.parametrize(
    ("target", "status", "location"),
    [
        ("/a/..//once", 200, None),
        ("/%6Fnce", 200, None),
        ("/x%2F..%2Fonce", 307, "/once"),
        ("/once%00", 400, None),
    ],
)
def test_spelling_gets_around_no_route(
    world: World, target: str, status: int, location: str | None
) -> None:
    answer = world.ask("GET", target)
    assert (answer.status, answer.headers.get("location")) == (status, location)


def test_header_with_an_underscore_is_refused(world: World) -> None:
    assert world.ask("GET", "/once", **{"x-user": "a"}).status == 200
    connection = HTTPConnection("127.0.0.1", world.envoy.ports["public/0"], timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", "/once", headers={"x_user": "admin"})
        assert connection.getresponse().status == 400
