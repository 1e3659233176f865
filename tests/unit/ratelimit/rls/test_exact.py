"""Rules of moreton.yaml in scope exact are decided by what a gateway tells of a request."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from moreton.kernel.rng import seeded_rng
from moreton.ratelimit.config import load_limits
from moreton.ratelimit.core.fields import FieldStyle
from moreton.ratelimit.rls.core.answers import Answer, Descriptor
from moreton.ratelimit.rls.core.facts import ADDRESS, DOMAIN, facts_of, group_of, wanted_headers
from moreton.ratelimit.rls.exact import ExactRules
from moreton.ratelimit.rls.service import RateLimitService
from moreton.ratelimit.rls.stores import LocalStore
from moreton.ratelimit.seeing.tally import Tally
from support.manual_clock import ManualClock

KEY = hashlib.sha256(b"ada's key").hexdigest()
FILE = f"""
version: 1
clients:
  api_keys:
    keys:
      ada: {{sha256: {KEY}, tier: paid}}
  tiers: {{free: {{}}, paid: {{}}}}
  tier_from: api-key
  unknown_tier: free
limits:
  api:
    match: {{paths: /api/*}}
    by: address
    scope: exact
    limit: [3/min, 5/day]
    tiers: {{paid: 6/min}}
  tenants:
    match: {{headers: {{x-tenant: {{present: true}}}}}}
    by: header:x-tenant
    scope: exact
    limit: 2/min
    algorithm: fixed-window
    headers: draft-03
  slow:
    match: {{paths: /slow}}
    scope: exact
    verdict: delay
    wait: 300ms
    queue: 1
    limit: 10/s
    burst: 1
  login:
    match: {{paths: /login}}
    by: address
    scope: exact
    limit: 2/h
    cost: {{answers: 401}}
  tokens:
    match: {{paths: /ask}}
    by: api-key
    scope: exact
    limit: 100/h
    cost: {{answer_header: x-tokens, max: 1000, default: 0}}
  watched: {{match: {{paths: /watched}}, scope: exact, limit: 1/h, mode: shadow}}
  closed: {{match: {{paths: /closed}}, scope: exact, limit: 0}}
  here: {{match: {{paths: /here}}, limit: 1/h}}
  strict: {{match: {{paths: /strict}}, scope: exact, limit: 1/h, on_outage: closed, status: 503}}
"""


class World:
    def __init__(self, folder: Path) -> None:
        (folder / "moreton.yaml").write_text(FILE)
        self.tally = Tally()
        self.rules = ExactRules(load_limits(folder / "moreton.yaml"), tally=self.tally)
        self.clock = ManualClock()
        store = LocalStore(clock=self.clock)
        self.service = RateLimitService({}, store, rng=seeded_rng(1), rules=self.rules)

    async def ask(
        self, path: str, *, hits: int = 1, done: str = "", group: str = "0-429", **headers: Any
    ) -> Answer:
        told = {"group": group, "method": "GET", "path": path, ADDRESS: "192.0.2.7"}
        told |= {f"header:{name.replace('_', '-')}": value for name, value in headers.items()}
        if done:
            told["done"] = done
        return await self.service.decide(DOMAIN, [Descriptor(tuple(told.items()))], hits)

    async def passes(self, path: str, times: int, **headers: Any) -> int:
        return sum([not (await self.ask(path, **headers)).refused for _ in range(times)])


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_several_bounds_of_a_rule_hold_together(world: World) -> None:
    assert await world.passes("/api/x?y=1", 5) == 3
    world.clock.advance(60)
    assert await world.passes("/api/x", 5) == 2
    answer = await world.ask("/api/x")
    assert "api:5/day" in dict(answer.fields)["ratelimit"]
    assert len(answer.statuses) == 1
    assert answer.statuses[0].over


async def test_a_key_has_the_limit_of_its_tier(world: World) -> None:
    assert await world.passes("/api/x", 9, x_api_key="ada's key") == 6
    assert await world.passes("/api/x", 9, x_api_key="another") == 3


async def test_a_request_is_held_to_every_rule_it_is_under_and_charged_to_all_or_none(
    world: World,
) -> None:
    assert await world.passes("/api/x", 3, x_tenant="t") == 2
    answer = await world.ask("/api/x", x_tenant="t")
    assert ("ratelimit-limit", "2, 2;w=60") in answer.fields  # the style of the rule that refused
    assert await world.passes("/api/x", 3) == 1


async def test_a_rule_that_delays_lets_so_many_wait_as_its_queue(world: World) -> None:
    answers = [await world.ask("/slow") for _ in range(3)]
    assert [one.delay_nanos for one in answers] == [0, 100_000_000, 0]
    assert [one.refused for one in answers] == [False, False, True]


async def test_what_answers_cost_is_charged_when_they_come(world: World) -> None:
    assert await world.passes("/login", 5) == 5
    for status in (200, 401, 401, 401):
        assert not (await world.ask("/login", hits=status, done="status")).refused
    assert await world.passes("/login", 1) == 0
    assert await world.passes("/ask", 3, x_api_key="ada's key") == 3
    await world.ask("/ask", hits=250, done="answer:x-tokens", x_api_key="ada's key")
    assert await world.passes("/ask", 1, x_api_key="ada's key") == 0
    assert await world.passes("/ask", 1, x_api_key="another") == 1


async def test_a_shadow_never_refuses_and_a_ban_always(world: World) -> None:
    assert await world.passes("/watched", 3) == 3
    assert world.service.counts.rows["limits.watched"].shadow_mode == 2
    assert await world.passes("/closed", 2) == 0


async def test_what_was_decided_is_told_to_those_who_look(world: World) -> None:
    await world.passes("/api/x", 5)
    (told,) = world.tally.take().rules
    assert told.rule == "api"
    assert sum(told.decisions.values()) == 5
    assert told.talkers[0].key == "192.0.2.7"


async def test_rules_of_other_scopes_and_other_groups_say_nothing(world: World) -> None:
    assert await world.passes("/here", 3) == 3
    assert await world.passes("/strict", 3) == 3
    assert (await world.ask("/strict", group="100-503")).refused is False
    assert (await world.ask("/strict", group="100-503")).refused


def test_a_gateway_has_to_tell_only_what_rules_look_at(world: World) -> None:
    limits = world.rules.limits
    assert wanted_headers(limits.rules.values(), limits.clients) == {
        "host",
        "x-api-key",
        "x-tenant",
    }
    assert group_of(limits.rules["strict"]) == "100-503"
    assert {one.style for one in world.rules.thresholds()} == {
        FieldStyle.DRAFT_10,
        FieldStyle.DRAFT_03,
    }


def test_what_a_client_says_of_its_way_is_not_believed() -> None:
    facts = facts_of([("header:x-forwarded-for", "10.0.0.1"), (ADDRESS, "192.0.2.1")])
    assert facts.caller.headers == {}
    assert facts.caller.address == "192.0.2.1"
