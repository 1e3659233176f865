"""What a real Envoy does with compiled limits: no control plane, one proxy, one client address."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import pytest

from moreton.config.words import read_path
from moreton.gateway.compile import GatewayCompiler
from moreton.kernel.quantities import parse_rate
from moreton.ratelimit.core.fields import FieldStyle, read_fields
from moreton.ratelimit.core.rules.bounds import RateBound
from moreton.ratelimit.core.rules.values import (
    Hours,
    LimitRule,
    Match,
    Missing,
    Mode,
    Part,
    Trait,
    Verdict,
)
from support.asking import Answer, ask
from support.echo import echo_server
from support.fronted import at_any_port, put_before
from support.static_envoy import StaticEnvoy, static_envoy

pytestmark = pytest.mark.e2e

ADDRESS = Part(Trait.ADDRESS)
# So slow that nothing comes back during the tests.
SLOW = "2/h"


def rule(name: str, burst: int = 2, rate: str = SLOW, **rest: Any) -> LimitRule:
    return LimitRule(name, (RateBound(parse_rate(rate), burst),), **rest)


def at(path: str, **rest: Any) -> Match:
    return Match(paths=(read_path(path),), **rest)


NOW_AND_THEN = Hours(0, 24 * 60)
RULES = [
    rule("together", match=at("/together/*")),
    rule("each", match=at("/each/*"), by=(ADDRESS,)),
    rule("each-proxied", match=at("/proxied/*"), by=(ADDRESS,)),
    rule("key", match=at("/key/*"), by=(Part(Trait.API_KEY),)),
    rule("skip", match=at("/skip/*"), by=(Part(Trait.HEADER, "x-tenant"),), missing=Missing.SKIP),
    rule("shadow", match=at("/shadow"), mode=Mode.SHADOW),
    rule("off", match=at("/off"), mode=Mode.OFF),
    rule("half", burst=1, match=at("/half"), share=0.5),
    rule("posts", match=at("/methods", methods=frozenset(["POST"]))),
    rule("inside", match=at("/inside", addresses=(ip_network("127.0.0.0/8"),))),
    rule("outside", match=at("/outside", addresses=(ip_network("192.0.2.0/24"),))),
    rule("unless-inside", match=at("/mine"), unless=Match(addresses=(ip_network("127.0.0.1/32"),))),
    rule("always", match=at("/always", hours=(NOW_AND_THEN,))),
    rule("by-path", match=at("/paths/*"), by=(Part(Trait.PATH), Part(Trait.METHOD))),
    rule("of-route", match=Match(routes=frozenset(["under"]))),
    rule("host", burst=1, match=Match(hosts=frozenset(["*.shop.test"]))),
    rule("old", match=at("/old"), fields=FieldStyle.LEGACY, status=503),
    rule("dropped", burst=1, match=at("/dropped"), verdict=Verdict.DROP),
    LimitRule("closed", (), match=at("/closed")),
]


@dataclass
class World:
    envoy: StaticEnvoy

    def statuses(self, target: str, *, count: int = 3, **headers: str) -> list[int]:
        return [self.ask(target, **headers).status for _ in range(count)]

    def ask(self, target: str, method: str = "GET", **headers: str) -> Answer:
        return ask(self.envoy.ports["public/0"], method, target, **headers)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with contextlib.ExitStack() as stack:
        app = stack.enter_context(echo_server("app"))
        behind, routes = (
            at_any_port("behind", trusted_proxies=1),
            {"all": "/*", "under": "/under/*"},
        )
        compiler = put_before(GatewayCompiler(), app.port, routes=routes, gateways=[behind])
        for one in RULES:
            compiler.put_limit(one)
        changed, _ = compiler.take()
        yield World(stack.enter_context(static_envoy(changed)))


@pytest.mark.parametrize(
    ("target", "headers", "statuses"),
    [
        ("/together/1", {}, [200, 200, 429]),
        ("/together-not", {}, [200, 200, 200]),
        ("/each/1?page=2", {}, [200, 200, 429]),
        ("/shadow", {}, [200, 200, 200]),
        ("/off", {}, [200, 200, 200]),
        ("/inside", {}, [200, 200, 429]),
        ("/outside", {}, [200, 200, 200]),
        ("/outside", {"x_moreton_networks": "match:outside"}, [200, 200, 200]),
        ("/mine", {}, [200, 200, 200]),
        ("/always", {}, [200, 200, 429]),
        ("/paths/1?a", {}, [200, 200, 429]),
        ("/paths/2", {}, [200, 200, 429]),
        ("/under/1", {}, [200, 200, 429]),
        ("/", {"host": "shop.test"}, [200, 200, 200]),
        ("/closed", {}, [429, 429, 429]),
        ("/old", {}, [200, 200, 503]),
    ],
)
def test_proxy_counts_what_a_rule_is_about(
    world: World, target: str, headers: dict[str, str], statuses: list[int]
) -> None:
    assert [world.ask(target, **headers).status for _ in range(3)] == statuses


def test_host_is_the_same_in_any_spelling(world: World) -> None:
    hosts = ["a.shop.test", "A.SHOP.TEST:80", "b.shop.test"]
    assert [world.ask("/", host=host).status for host in hosts] == [200, 429, 429]


def test_method_is_a_condition(world: World) -> None:
    assert world.statuses("/methods") == [200, 200, 200]
    assert [world.ask("/methods", "POST").status for _ in range(3)] == [200, 200, 429]


def test_each_key_has_a_bucket_of_its_own_and_the_rest_count_by_address(world: World) -> None:
    assert world.statuses("/key/1", x_api_key="a") == [200, 200, 429]
    assert world.statuses("/key/1", x_api_key="b") == [200, 200, 429]
    assert world.statuses("/key/1", count=2) == [200, 200]
    # Neither a key that is longer than any, nor an empty one, is a bucket of its own.
    assert world.statuses("/key/1", count=1, x_api_key="x" * 4000) == [429]
    assert world.statuses("/key/1", count=1, x_api_key="") == [429]


def test_key_that_is_too_long_does_not_get_around_a_rule_that_skips_those_without(
    world: World,
) -> None:
    assert world.statuses("/skip/1") == [200, 200, 200]
    longer = [world.statuses("/skip/1", count=1, x_tenant=letter * 200) for letter in "abc"]
    assert longer == [[200], [200], [429]]


def test_forged_forwarded_for_changes_nothing(world: World) -> None:
    forged = [world.ask("/each/2", x_forwarded_for=f"192.0.2.{n}").status for n in range(4)]
    assert forged[2:] == [429, 429]


def test_client_behind_a_trusted_proxy_is_whom_the_proxy_names_last(world: World) -> None:
    port = world.envoy.ports["behind/0"]

    def through(*named: str) -> int:
        return ask(port, "GET", "/proxied/1", x_forwarded_for=", ".join(named)).status

    assert [through("192.0.2.1") for _ in range(3)] == [200, 200, 429]
    assert [through("192.0.2.2") for _ in range(3)] == [200, 200, 429]
    # What a client writes stands before what the proxy adds.
    assert [through(f"198.51.100.{n}", "192.0.2.3") for n in range(3)] == [200, 200, 429]


def test_refusal_says_in_the_fields_of_services_which_limit_and_when(world: World) -> None:
    *_, refused = [world.ask("/together/2") for _ in range(3)]
    assert refused.status == 429
    assert refused.headers["x-moreton-limit"] == "together"
    assert refused.headers["retry-after"] == "1800"
    assert refused.headers["ratelimit-policy"] == '"together";q=2;w=3600'
    told = read_fields(refused.headers, 0)
    assert told is not None
    assert (told.left, told.seconds) == (0, 1800)
    assert refused.headers["content-type"] == "application/problem+json"
    problem = json.loads(refused.body)
    assert problem["status"] == 429
    assert problem["code"] == "rate-limited"
    assert problem["violated-policies"] == ["together"]
    assert problem["retry_after"] == 1800


def test_refusal_speaks_the_style_of_its_rule(world: World) -> None:
    *_, refused = [world.ask("/old") for _ in range(3)]
    assert refused.status == 503
    assert refused.headers["x-ratelimit-limit"] == "2"
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert json.loads(refused.body)["type"].endswith("#temporary-reduced-capacity")


def test_ban_names_no_time(world: World) -> None:
    refused = world.ask("/closed")
    assert "retry-after" not in refused.headers
    assert json.loads(refused.body)["violated-policies"] == ["closed"]


def test_dropped_request_gets_no_word_and_its_connection_ends(world: World) -> None:
    assert world.ask("/dropped").status == 200
    address = ("127.0.0.1", world.envoy.ports["public/0"])
    with socket.create_connection(address, 20) as client:
        client.sendall(b"GET /dropped HTTP/1.1\r\nhost: gateway.test\r\n\r\n")
        heard = b"".join(iter(lambda: client.recv(4096), b""))
    head, _, body = heard.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429")
    assert b"connection: close" in head
    assert b"x-moreton-drop" not in head
    assert b"retry-after" not in head
    assert body == b""


def test_share_of_a_rule_acts_on_that_share(world: World) -> None:
    refused = world.statuses("/half", count=200).count(429)
    assert 60 <= refused <= 140


def test_rule_that_only_counts_is_seen_in_the_statistics(world: World) -> None:
    world.statuses("/shadow")
    counted = world.envoy.stats(r"^limit/shadow\.http_local_rate_limit")
    assert counted["limit/shadow.http_local_rate_limit.rate_limited"] > 0
    assert "limit/shadow.http_local_rate_limit.enforced" not in counted
