"""Rules of moreton.yaml in scope exact, through a real Envoy that asks a real service."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from e2e.ratelimit.rls.world import Limits
from moreton.gateway.compile import GatewayCompiler
from moreton.ratelimit.config import load_limits
from moreton.ratelimit.rls.exact import ExactRules
from support.asking import Answer, ask
from support.echo import echo_server
from support.fronted import put_before
from support.static_envoy import StaticEnvoy, static_envoy

pytestmark = pytest.mark.e2e

FILE = """
version: 1
routes: {some: {path: /some/*, to: app}}
clients:
  api_keys: {keys: {ada: {key: hers, tier: paid}}}
  tiers: {free: {}, paid: {}}
  tier_from: api-key
  unknown_tier: free
limits:
  api: {match: {paths: /api/*}, by: address, scope: exact, limit: 2/min, tiers: {paid: 4/min}}
  both: {match: {paths: /api/both}, scope: exact, limit: 1/min}
  slow: {match: {paths: /slow}, scope: exact, verdict: delay, wait: 250ms, limit: 10/s, burst: 1}
  login: {match: {paths: /login}, scope: exact, limit: 2/h, cost: {answers: 401}}
  work: {match: {paths: /work}, scope: exact, limit: 1 at once}
  routes: {match: {routes: some}, scope: exact, limit: 1/min}
  strict: {match: {paths: /strict}, scope: exact, limit: 100/s, on_outage: closed, status: 503}
"""


@dataclass
class Door:
    envoy: StaticEnvoy
    limits: Limits

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        return ask(self.envoy.ports["public/0"], method, path, **headers)

    def statuses(self, path: str, count: int, **headers: str) -> list[int]:
        return [self.ask(path, **headers).status for _ in range(count)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("exact")
    (folder / "moreton.yaml").write_text(FILE)
    (folder / "none.yaml").write_text("domain: none\n")
    found = load_limits(folder / "moreton.yaml")
    with contextlib.ExitStack() as stack:
        app = stack.enter_context(echo_server("app"))
        limits = Limits(folder / "none.yaml", listen=f"unix:{folder / 'l.sock'}")
        limits.service.rules = ExactRules(found)
        stack.enter_context(limits.running())
        compiler = GatewayCompiler(asked_at=str(folder / "l.sock"))
        put_before(compiler, app.port, routes={"all": "/*", "some": "/some/*"})
        compiler.put_clients(found.clients, found.counters)
        for rule in found.rules.values():
            compiler.put_limit(rule)
        changed, _ = compiler.take()
        yield Door(stack.enter_context(static_envoy(changed)), limits)


@pytest.fixture
def door(world: Door) -> Door:
    world.limits.clock.advance(3600)
    return world


def test_a_client_has_the_limit_of_its_tier(door: Door) -> None:
    assert door.statuses("/api/x", 3) == [200, 200, 429]
    door.limits.clock.advance(60)
    assert door.statuses("/api/x", 5, **{"x-api-key": "hers"}) == [200] * 4 + [429]
    door.limits.clock.advance(60)
    assert door.statuses("/api/x", 3, **{"x-forwarded-for": "10.0.0.1"}) == [200, 200, 429]


def test_what_one_rule_refuses_another_does_not_count(door: Door) -> None:
    assert door.statuses("/api/both", 3) == [200, 429, 429]
    assert door.statuses("/api/x", 2) == [200, 429]


def test_a_request_may_wait_for_its_turn_and_no_client_says_how_long(door: Door) -> None:
    forged = {"x-envoy-fault-delay-request": "4000", "x-moreton-taken": "1"}
    began = time.monotonic()
    assert door.statuses("/slow", 4, **forged) == [200, 200, 200, 429]
    assert 0.3 <= time.monotonic() - began < 3


def test_failed_logins_alone_are_counted(door: Door) -> None:
    assert door.statuses("/login", 3) == [200] * 3
    for _ in range(2):
        assert door.ask("/login", **{"x-answer": "401"}).status == 401
    wait_for(lambda: door.ask("/login").status == 429)


def test_work_under_way_is_free_again_when_it_ends(door: Door) -> None:
    for _ in range(3):
        wait_for(lambda: door.ask("/work").status == 200)


def test_rules_of_routes_are_of_their_routes(door: Door) -> None:
    assert door.statuses("/some/x", 2) == [200, 429]
    assert door.statuses("/other", 3) == [200] * 3


def test_rules_are_asked_for_only_where_they_may_hold(door: Door) -> None:
    before = door.envoy.stats("cluster._limits.upstream_rq_total")
    assert door.statuses("/strict-not", 3) == [200] * 3
    after = door.envoy.stats("cluster._limits.upstream_rq_total")
    assert sum(after.values()) - sum(before.values()) <= 3


def test_without_the_service_each_rule_does_what_it_says(door: Door) -> None:
    door.limits.run(door.limits.stop())
    try:
        assert door.statuses("/api/x", 4) == [200] * 4
        assert door.statuses("/strict", 2) == [503] * 2
    finally:
        door.limits.run(door.limits.start())
    wait_for(lambda: door.ask("/strict").status == 200)


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
