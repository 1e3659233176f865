"""Several rules of one request whose limits are in one Redis: one trip, and all count, or none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, timedelta

import pytest
import redis

from moreton.ratelimit import CalendarWindow, FixedWindow, Gcra, LeakyBucket, LocalLimiter
from moreton.ratelimit.core.limit import Limit
from moreton.ratelimit.redis import FailMode, RedisLimiter
from moreton.ratelimit.rules import Caller, Mode, Refusal, Rule, everyone
from moreton.ratelimit.servers.guard import Guard, Passage
from support.redis_server import RedisServer, running_redis

PATIENT = timedelta(seconds=20)
CALLER = Caller("GET", "/", {}, "192.0.2.7")
Enter = Callable[[Sequence[Rule]], Refusal | None]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as found:
        yield found


@pytest.fixture(autouse=True)
def _empty(server: RedisServer) -> None:
    with server.client() as client:
        client.flushall()
        client.config_resetstat()


def rule(server: RedisServer, *limits: Limit, name: str = "", mode: Mode = Mode.ENFORCE) -> Rule:
    store = RedisLimiter(
        server.url, *limits, name=name or limits[0].name, fail=FailMode.closed(), budget=PATIENT
    )
    return Rule(store, everyone, mode=mode, name=name)


def trips(server: RedisServer) -> int:
    """How many questions were sent; the first of each script is sent twice."""
    with server.client() as client:
        told = client.info("commandstats")
        client.config_resetstat()
    return int(told.get("cmdstat_evalsha", {"calls": 0})["calls"])


def in_a_thread(rules: Sequence[Rule]) -> Refusal | None:
    return Guard(rules).enter(CALLER).refusal


def in_a_loop(rules: Sequence[Rule]) -> Refusal | None:
    async def enter() -> Passage:
        passage = await Guard(rules).enter_async(CALLER)
        for each in rules:
            assert isinstance(each.limiter, RedisLimiter)
            await each.limiter.aclose()
        return passage

    return asyncio.run(enter()).refusal


both = pytest.mark.parametrize("enter", [in_a_thread, in_a_loop])
LIMITS = (
    pytest.param([Gcra("9/d", name="a"), Gcra("8/d", name="b"), Gcra("3/d", name="c")], id="gcra"),
    pytest.param(
        [
            Gcra("9/d", name="a"),
            CalendarWindow(3, "month", zone=UTC, name="b"),
            FixedWindow("9/d", name="c"),
        ],
        id="mixed",
    ),
)


@both
@pytest.mark.parametrize("limits", LIMITS)
def test_rules_of_one_store_cost_one_trip_and_a_refusal_charges_none(
    server: RedisServer, enter: Enter, limits: list[Limit]
) -> None:
    rules = [rule(server, one) for one in limits]
    assert enter(rules) is None
    trips(server)
    assert [enter(rules) for _ in range(2)] == [None, None]
    assert trips(server) == 2
    refusal = enter(rules)
    assert refusal is not None
    assert refusal.decision.refused_by == next(one.name for one in limits if one.quota == 3)
    assert trips(server) == 1
    for one, made in zip(limits, rules, strict=True):
        assert made.limiter.decide("", 0).left == one.quota - 3
    before = trips(server)
    assert before == 3
    assert enter(rules) is not None  # which is remembered
    assert trips(server) == 0
    assert [made.counts.refused for made in rules] == [2 * (one.quota == 3) for one in limits]


def test_what_is_decided_elsewhere_is_given_back_when_the_store_refuses(
    server: RedisServer,
) -> None:
    own = Rule(LocalLimiter(Gcra("5/d", name="own")), everyone)
    rules = [rule(server, Gcra("1/d", name="x")), own, rule(server, Gcra("9/d", name="y"))]
    guard = Guard(rules)
    assert [guard.enter(CALLER).refusal is None for _ in range(3)] == [True, False, False]
    assert own.limiter.decide("", 0).left == 4


def test_a_rule_that_only_counts_refuses_nobody_of_the_others(server: RedisServer) -> None:
    shadow = rule(server, Gcra("1/d", name="s"), mode=Mode.SHADOW)
    guard = Guard(
        [shadow, rule(server, Gcra("9/d", name="x")), rule(server, Gcra("9/d", name="y"))]
    )
    assert [guard.enter(CALLER).refusal for _ in range(3)] == [None, None, None]
    assert shadow.counts.shadowed == 2


def test_rules_that_share_a_count_are_each_charged(server: RedisServer) -> None:
    guard = Guard([rule(server, Gcra("9/d", name="x"), name="same") for _ in range(2)])
    assert guard.enter(CALLER).refusal is None
    assert rule(server, Gcra("9/d", name="x"), name="same").limiter.decide("", 0).left == 7


def test_a_queue_of_its_own_is_asked_alone(server: RedisServer) -> None:
    slow = rule(server, LeakyBucket("1000/s", queue=1000, name="slow"))
    guard = Guard([slow, rule(server, Gcra("9/d", name="x")), rule(server, Gcra("9/d", name="y"))])
    assert slow.limiter.store is None
    assert all(guard.enter(CALLER).refusal is None for _ in range(2))


@both
def test_each_rule_has_its_own_way_while_the_store_is_away(
    enter: Enter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "moreton.ratelimit")
    away = "redis://127.0.0.1:1/0"
    opened, closed = (
        Rule(RedisLimiter(away, Gcra("9/d", name=name), name=name, fail=fail), everyone)
        for name, fail in (("open", FailMode.open()), ("closed", FailMode.closed()))
    )
    also = Rule(RedisLimiter(away, Gcra("9/d", name="also"), name="also"), everyone)
    assert [enter([opened, also]) for _ in range(3)] == [None, None, None]
    refusals = [enter([opened, closed]) for _ in range(3)]
    assert all(one is not None and one.decision.degraded for one in refusals)


def test_the_test_counts_trips(server: RedisServer) -> None:
    with server.client() as client, pytest.raises(redis.ResponseError):
        client.evalsha("0" * 40, 0)
    assert trips(server) == 1
