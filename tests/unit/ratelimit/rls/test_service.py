"""Requests for decisions are answered as the protocol and envoyproxy/ratelimit have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moreton.kernel.rng import seeded_rng
from moreton.ratelimit import Gcra
from moreton.ratelimit.core.fields import FieldStyle
from moreton.ratelimit.errors import LimitStoreUnavailable
from moreton.ratelimit.rls.core.answers import Answer, Descriptor, Override
from moreton.ratelimit.rls.core.settling import Ask, Settled
from moreton.ratelimit.rls.core.tree import COUNT_MAX, Away, Node, Threshold, Unit
from moreton.ratelimit.rls.imports import load
from moreton.ratelimit.rls.service import Answering, RateLimitService
from moreton.ratelimit.rls.stores import LocalStore
from moreton.ratelimit.rls.stores.store import Store
from support.manual_clock import ManualClock

FILE = """
domain: shop
descriptors:
  - {key: two, rate_limit: {unit: minute, requests_per_unit: 2}}
  - {key: nine, rate_limit: {unit: minute, requests_per_unit: 9}}
  - {key: none, rate_limit: {unit: minute, requests_per_unit: 0}}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: dark, shadow_mode: true, rate_limit: {unit: minute, requests_per_unit: 1}}
  - key: base
    rate_limit: {unit: minute, requests_per_unit: 1, name: base}
  - key: more
    rate_limit: {unit: minute, requests_per_unit: 3, replaces: [{name: base}]}
  - {key: q, value: a, quota_mode: true, metadata: {at: {name: a}, both: 1},
     rate_limit: {unit: minute, requests_per_unit: 1}}
  - {key: q, value: b, quota_mode: true, metadata: {at: {zone: z}, both: 2},
     rate_limit: {unit: minute, requests_per_unit: 2}}
"""


class World:
    def __init__(self, path: Path, **answering: Any) -> None:
        path.write_text(FILE)
        self.clock = ManualClock()
        self.service = RateLimitService(
            load(path).domains,
            LocalStore(clock=self.clock),
            Answering(**answering),
            rng=seeded_rng(3),
        )

    async def ask(self, *names: str, cost: int = 1, **costs: int) -> Answer:
        asked = []
        for name in names:
            key, _, value = name.partition("=")
            asked.append(Descriptor(((key, value or "x"),), costs.get(key)))
        return await self.service.decide("shop", asked, cost)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "shop.yaml")


async def test_a_window_lets_its_count_pass_and_begins_anew(world: World) -> None:
    answers = [await world.ask("two") for _ in range(3)]
    assert [one.refused for one in answers] == [False, False, True]
    assert [one.statuses[0].left for one in answers] == [1, 0, 0]
    assert answers[2].statuses[0].over
    world.clock.advance(60)
    assert not (await world.ask("two")).refused


async def test_a_refused_request_is_counted_by_no_other_limit(world: World) -> None:
    for _ in range(2):
        await world.ask("two", "nine")
    for _ in range(5):
        assert (await world.ask("two", "nine")).refused
    assert (await world.ask("nine", nine=0)).statuses[0].left == 7


async def test_where_it_is_wanted_all_limits_count_a_refused_request(tmp_path: Path) -> None:
    world = World(tmp_path / "shop.yaml", charge_all=True)
    for _ in range(4):
        await world.ask("two", "nine")
    assert (await world.ask("nine", nine=0)).statuses[0].left == 5


async def test_costs_are_of_the_request_or_of_each_descriptor(world: World) -> None:
    answer = await world.ask("two", "nine", cost=2, nine=5)
    assert [one.left for one in answer.statuses] == [0, 4]
    assert (await world.ask("nine", nine=5)).refused


async def test_who_only_looks_is_over_once_more_than_the_quota_was_used(world: World) -> None:
    await world.ask("two", two=2)
    assert not (await world.ask("two", two=0)).refused
    # What was used after the fact counts, too, and is told late.
    await world.ask("two", two=1)
    assert (await world.ask("two", two=0)).refused


async def test_hits_are_given_back_down_to_nothing(world: World) -> None:
    await world.ask("nine", nine=5)
    answer = await world.ask("nine", nine=-3)
    assert (answer.refused, answer.statuses[0].left) == (False, 7)
    assert (await world.ask("nine", nine=-30)).statuses[0].left == 9


async def test_the_same_descriptor_twice_counts_twice(world: World) -> None:
    answer = await world.ask("nine", "nine")
    assert [one.left for one in answer.statuses] == [7, 7]


async def test_a_count_of_nothing_refuses_all_and_charges_nobody(world: World) -> None:
    answer = await world.ask("nine", "none")
    assert answer.refused
    assert [one.over for one in answer.statuses] == [False, True]
    assert (await world.ask("nine", nine=0)).statuses[0].left == 9


async def test_what_is_unlimited_has_all_left(world: World) -> None:
    answer = await world.ask("free", "unknown")
    assert not answer.refused
    assert [one.left for one in answer.statuses] == [COUNT_MAX, 0]
    assert not answer.fields


async def test_a_threshold_in_shadow_mode_counts_and_never_refuses(world: World) -> None:
    answers = [await world.ask("dark") for _ in range(3)]
    assert not any(one.refused or one.statuses[0].over for one in answers)
    assert answers[2].statuses[0].left == 0
    (row,) = world.service.counts.rows.values()
    assert (row.total_hits, row.over_limit, row.shadow_mode) == (3, 2, 2)


async def test_what_is_replaced_neither_refuses_nor_counts(world: World) -> None:
    answers = [await world.ask("base", "more") for _ in range(4)]
    assert [one.refused for one in answers] == [False, False, False, True]
    assert not (await world.ask("base")).refused
    assert (await world.ask("base")).refused


async def test_quotas_refuse_once_all_are_used_up_and_tell_which_are_not(world: World) -> None:
    first, second, third = [await world.ask("q=a", "q=b") for _ in range(3)]
    assert [one.refused for one in (first, second, third)] == [False, False, True]
    assert first.metadata == {"at": {"name": "a", "zone": "z"}, "both": 1}
    assert second.metadata == {"at": {"zone": "z"}, "both": 2}
    assert third.metadata == {}


async def test_an_empty_quota_does_not_save_a_plain_limit(world: World) -> None:
    answers = [await world.ask("q=b", "two") for _ in range(3)]
    assert [one.refused for one in answers] == [False, False, True]


async def test_everything_may_be_a_quota_or_shadow(tmp_path: Path) -> None:
    world = World(tmp_path / "shop.yaml", quota=True)
    assert [(await world.ask("two", "nine")).refused for _ in range(4)] == [False] * 4
    world = World(tmp_path / "shop.yaml", shadow=True)
    answers = [await world.ask("two") for _ in range(3)]
    assert not any(one.refused for one in answers)
    assert answers[2].statuses[0].over
    assert world.service.counts.shadowed == 1


async def test_an_asker_may_bring_a_limit_of_its_own(world: World) -> None:
    asked = [Descriptor((("two", "x"),), override=Override(3, Unit.HOUR))]
    answers = [await world.service.decide("shop", asked) for _ in range(4)]
    assert [one.refused for one in answers] == [False, False, False, True]
    threshold = answers[0].statuses[0].threshold
    assert threshold is not None
    assert (threshold.count, threshold.unit) == (3, "hour")
    assert not (await world.ask("two")).refused
    banned = [Descriptor((("two", "y"),), override=Override(0, Unit.HOUR))]
    assert (await world.service.decide("shop", banned)).refused


async def test_an_unknown_domain_limits_nothing_and_is_counted(world: World) -> None:
    answer = await world.service.decide("nowhere", [Descriptor((("two", "x"),))])
    assert not answer.refused
    assert world.service.counts.not_found == {"nowhere": 1}


async def test_a_refusal_says_who_refused_and_when_it_is_free(world: World) -> None:
    for _ in range(2):
        await world.ask("two", "nine")
    world.clock.advance(5)
    answer = await world.ask("two", "nine")
    begin = world.clock.nanos // 10**9 % 60
    fields = dict(answer.fields)
    assert fields["retry-after"] == str(60 - begin)
    assert fields["ratelimit"] == f'"two";r=0;t={60 - begin}'
    assert fields["content-type"] == "application/problem+json"
    assert json.loads(answer.body)["violated-policies"] == ["two"]


async def test_header_fields_may_be_those_of_before_or_none(tmp_path: Path) -> None:
    world = World(tmp_path / "shop.yaml", style=FieldStyle.DRAFT_03, problem=False)
    assert ("ratelimit-limit", "9, 9;w=60") in (await world.ask("nine")).fields
    world = World(tmp_path / "shop.yaml", style=FieldStyle.OFF, problem=False)
    assert not (await world.ask("nine")).fields


def tree(**thresholds: Threshold) -> dict[str, Node]:
    children = {name: Node(threshold=one) for name, one in thresholds.items()}
    return {"shop": Node(children)}


async def test_a_request_waits_for_its_turn_while_there_is_room_to_wait(world: World) -> None:
    limit = Gcra("10/s", burst=1, name="slow")
    slow = Threshold(limit, 10, Unit.SECOND, drains=False, patience_nanos=250_000_000)
    world.service.domains = tree(slow=slow)
    world.service.answering = Answering(waiting_max=1)
    answers = [await world.ask("slow") for _ in range(3)]
    assert [one.delay_nanos for one in answers] == [0, 100_000_000, 0]
    assert [one.refused for one in answers] == [False, False, True]
    world.clock.advance(0.3)
    assert (await world.ask("slow")).delay_nanos == 0


async def test_a_shadow_delays_nobody(world: World) -> None:
    limit = Gcra("10/s", burst=1, name="slow")
    slow = Threshold(limit, 10, shadow=True, drains=False, patience_nanos=250_000_000)
    world.service.domains = tree(slow=slow)
    assert [(await world.ask("slow")).delay_nanos for _ in range(4)] == [0] * 4


async def test_only_a_share_of_the_requests_is_held_to_a_threshold(world: World) -> None:
    part = Threshold(Gcra("1/d", name="part"), 1, drains=False, share=0.5)
    world.service.domains = tree(part=part)
    refused = [(await world.ask("part")).refused for _ in range(100)]
    assert 35 <= sum(refused) <= 65


async def test_a_report_is_charged_and_refuses_nothing(world: World) -> None:
    used = Threshold(Gcra("10/d", name="used"), 10, drains=False, report=True)
    asks = Threshold(Gcra("10/d", name="used"), 10, drains=False)
    world.service.domains = tree(tokens=used)
    assert not (await world.ask("tokens", cost=25)).refused
    world.service.domains = tree(tokens=asks)
    assert (await world.ask("tokens")).refused


class AwayStore(Store):
    async def settle(self, domain: str, asks: object) -> Settled:
        raise LimitStoreUnavailable(f"nobody keeps {domain} {asks}")


@pytest.mark.parametrize(
    ("away", "refused"),
    [(Away(), range(1)), (Away(1.0), range(40, 41)), (Away(0.5), range(8, 33)),
     (Away(alone=0.5), range(30, 31))],
)  # fmt: skip
async def test_while_the_store_is_away_each_limit_does_what_it_says(
    world: World, away: Away, refused: range
) -> None:
    world.service.store = AwayStore(world.clock)
    world.service.domains = tree(
        a=Threshold(Gcra("20/d", name="a"), 20, drains=False, away=away),
        none=Threshold(Gcra("20/d", name="b"), 20, drains=False),
    )
    answers = [await world.ask("a") for _ in range(40)]
    assert sum(one.refused for one in answers) in refused
    assert world.service.counts.failed == 40
    with pytest.raises(LimitStoreUnavailable, match="no fail mode"):
        await world.ask("none")


def test_an_ask_of_a_window_has_no_turn_to_wait_for() -> None:
    assert Ask(Gcra("1/s"), "k", patience_nanos=5).bearable == 5
