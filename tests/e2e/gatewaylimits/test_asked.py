"""What a real Envoy says was asked of a shared limit: its requests, refused or not, no other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from moreton.config.words import read_path
from moreton.gateway.compile import GatewayCompiler
from moreton.gateway.compile.limits.shares.filters import ASKED_PATTERN, read_asked
from moreton.kernel.quantities import parse_rate
from moreton.ratelimit.core.rules.bounds import RateBound
from moreton.ratelimit.core.rules.values import (
    LimitRule,
    Match,
    Missing,
    Mode,
    Part,
    Scope,
    Trait,
)
from support.asking import ask
from support.echo import echo_server
from support.fronted import at_any_port, put_before
from support.static_envoy import StaticEnvoy, static_envoy

pytestmark = pytest.mark.e2e

BURST = 20
BOUND = RateBound(parse_rate("2/h"), BURST)
MORE = RateBound(parse_rate("1000/h"), 2 * BURST)
TENANT = Part(Trait.HEADER, "x-tenant")


def rule(name: str, *more: RateBound, **rest: Any) -> LimitRule:
    match = rest.pop("match", Match(paths=(read_path(f"/{name}"),)))
    return LimitRule(name, (*more, BOUND), scope=Scope.QUOTA, match=match, **rest)


GETS = frozenset(["GET"])
RULES = [
    rule("plain"),
    rule("gets", match=Match(paths=(read_path("/gets"),), methods=GETS)),
    rule("each", by=(Part(Trait.ADDRESS),)),
    rule("tenants", by=(TENANT,), missing=Missing.ADDRESS),
    rule("only-tenants", by=(TENANT,), missing=Missing.SKIP),
    rule("two", MORE),
    rule("counted", mode=Mode.SHADOW),
    rule("off", mode=Mode.OFF),
    rule("of-route", match=Match(routes=frozenset(["under"]))),
]


@pytest.fixture(scope="module")
def envoy() -> Iterator[StaticEnvoy]:
    with contextlib.ExitStack() as stack:
        app = stack.enter_context(echo_server("app"))
        routes, gateways = {"all": "/*", "under": "/of-route"}, [at_any_port("inner")]
        compiler = put_before(GatewayCompiler(), app.port, routes=routes, gateways=gateways)
        for one in RULES:
            compiler.put_limit(one)
        # One of all requests, at a gateway of its own.
        compiler.put_limit(rule("all", match=Match(gateways=frozenset(["inner"]))))
        changed, _ = compiler.take()
        yield stack.enter_context(static_envoy(changed))


def asked(envoy: StaticEnvoy) -> dict[tuple[str, str], int]:
    return read_asked(envoy.stats(ASKED_PATTERN))


def more_asked(
    envoy: StaticEnvoy, path: str, method: str = "GET", **headers: str
) -> tuple[list[int], dict[str, int]]:
    """The answers to some requests, and how much more was asked of which rules at `public`."""
    before = asked(envoy)
    port = envoy.ports["public/0"]
    answers = [ask(port, method, path, **headers).status for _ in range(BURST + 5)]
    after = asked(envoy)
    more = {rule: count - before.get((at, rule), 0) for (at, rule), count in after.items()}
    return answers, {rule: count for rule, count in more.items() if count}


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("plain", {}),
        ("gets", {}),
        ("each", {}),
        ("tenants", {"x_tenant": "acme"}),
        ("tenants", {}),
        ("only-tenants", {"x_tenant": "acme"}),
        ("two", {}),
        ("of-route", {}),
    ],
)
def test_all_requests_of_a_rule_are_counted_and_it_acts(
    envoy: StaticEnvoy, name: str, headers: dict[str, str]
) -> None:
    answers, more = more_asked(envoy, f"/{name}", **headers)
    assert answers == [200] * BURST + [429] * 5
    assert more == {name: BURST + 5}


@pytest.mark.parametrize(("path", "method"), [("/gets", "POST"), ("/off", "GET"), ("/x", "GET")])
def test_no_other_request_is_counted(envoy: StaticEnvoy, path: str, method: str) -> None:
    answers, more = more_asked(envoy, path, method)
    assert answers == [200] * (BURST + 5)
    assert not more


def test_what_is_asked_of_a_rule_that_never_acts_is_counted(envoy: StaticEnvoy) -> None:
    answers, more = more_asked(envoy, "/counted")
    assert answers == [200] * (BURST + 5)
    assert more == {"counted": BURST + 5}


def test_what_is_refused_of_a_rule_without_conditions_is_counted(envoy: StaticEnvoy) -> None:
    answers = [ask(envoy.ports["inner/0"], "GET", "/").status for _ in range(BURST + 5)]
    assert answers.count(200) == BURST
    assert asked(envoy)["inner", "all"] == BURST + 5
