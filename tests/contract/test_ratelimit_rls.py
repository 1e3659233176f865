"""Counts of descriptors in a real Redis: as those of one process, and what happens without it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moreton.kernel.rng import seeded_rng
from moreton.ratelimit import FixedWindow, Gcra, LeakyBucket, TokenBucket
from moreton.ratelimit.core.limit import Limit
from moreton.ratelimit.errors import LimitStoreUnavailable
from moreton.ratelimit.rls.core.answers import Descriptor
from moreton.ratelimit.rls.core.settling import Ask
from moreton.ratelimit.rls.core.tree import Away, Node, Threshold
from moreton.ratelimit.rls.service import RateLimitService
from moreton.ratelimit.rls.stores import LocalStore
from moreton.ratelimit.rls.stores.redis import RedisStore
from moreton.ratelimit.rls.stores.shared import SharedStore
from support.manual_clock import START, ManualClock
from support.redis_server import RedisServer, running_redis

SECOND = timedelta(seconds=1)
LIMITS: list[Limit] = [
    FixedWindow("5/min"),
    FixedWindow("3/s"),
    Gcra("10/s", burst=3),
    LeakyBucket("10/s", queue=2),
    TokenBucket(4, 2, SECOND),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as found:
        yield found


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path) as found:
        yield found


def asks() -> st.SearchStrategy[list[Ask]]:
    one = st.builds(
        lambda number, cost, flags, patience: Ask(
            LIMITS[number],
            f"k{number}",
            cost,
            shadow=flags[0],
            quota=flags[1],
            drains=flags[2],
            report=flags[3],
            patience_nanos=patience * 1_000_000,
            reserve=int(flags[4]),
        ),
        st.integers(0, len(LIMITS) - 1),
        st.integers(-2, 4),
        st.tuples(*[st.booleans()] * 5),
        st.sampled_from([0, 0, 150]),
    )
    return st.lists(one, min_size=1, max_size=4, unique_by=lambda ask: ask.key)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.tuples(asks(), st.integers(0, 700)), min_size=1, max_size=12))
def test_it_settles_as_one_process_does_and_so_do_processes_that_share(
    server: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[tuple[list[Ask], int]],
) -> None:
    with server.client() as client:
        client.flushall()
    clock = ManualClock(START)
    local = LocalStore(clock=clock)
    shared = SharedStore(tmp_path_factory.mktemp("shared") / "counts", keys_max=100, clock=clock)
    remote = RedisStore(server.url, budget=timedelta(seconds=30), clock=clock)
    remote._at = clock.monotonic
    # What is remembered here is not asked: it would tell less.
    monkeypatch.setattr(remote._over, "add", lambda *_: None)

    async def compare() -> None:
        try:
            for asked, millis in steps:
                expected = local.settle_nowait(asked)
                assert shared.settle_nowait(asked) == expected
                assert await remote.settle("shop", asked) == expected
                clock.advance(millis / 1000)
        finally:
            await remote.close()
            await shared.close()

    asyncio.run(compare())


def held(limit: Limit, away: Away | None) -> dict[str, Node]:
    threshold = Threshold(limit, 1, drains=False, away=away)
    return {"shop": Node({"who": Node(threshold=threshold)})}


ADA = [Descriptor((("who", "ada"),))]


@pytest.fixture
async def store(own_server: RedisServer) -> AsyncIterator[RedisStore]:
    found = RedisStore(own_server.url, budget=timedelta(milliseconds=60))
    deadline = time.monotonic() + 10
    while True:  # on a busy machine the first answers may come too late
        try:
            await found.settle("shop", [Ask(Gcra("1/s"), "warm", 0)])
            break
        except LimitStoreUnavailable:
            assert time.monotonic() < deadline
    yield found
    await found.close()


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_without_redis_each_limit_does_what_it_says_within_the_budget_and_recovers(
    own_server: RedisServer, store: RedisStore, how: str
) -> None:
    services = {
        away: RateLimitService(held(Gcra("20/d"), away), store, rng=seeded_rng(3))
        for away in (Away(), Away(1.0), Away(0.5), Away(alone=0.5))
    }
    expected = [range(1), range(40, 41), range(8, 33), range(30, 31)]
    if how == "killed":
        own_server.kill()
    else:
        own_server.freeze()
    took = []
    for service, refused in zip(services.values(), expected, strict=True):
        found = 0
        for _ in range(40):
            began = time.monotonic()
            found += (await service.decide("shop", ADA)).refused
            took.append(time.monotonic() - began)
        assert found in refused
    assert sum(service.counts.failed for service in services.values()) == 160
    # A few waited for Redis, and none of the others: that is its budget at the 99th of a hundred.
    assert sorted(took)[157] < 0.06
    nobody = RateLimitService(held(Gcra("20/d"), None), store)
    with pytest.raises(LimitStoreUnavailable):
        await nobody.decide("shop", ADA)
    own_server.thaw() if how == "frozen" else own_server.start()
    deadline = time.monotonic() + 10
    before = nobody.counts.failed
    while True:
        try:
            await nobody.decide("shop", ADA)
            break
        except LimitStoreUnavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
    assert nobody.counts.failed >= before


async def test_nobody_is_counted_twice_when_redis_freezes_under_load(
    own_server: RedisServer, store: RedisStore
) -> None:
    service = RateLimitService(held(Gcra("100000/d"), Away()), store)
    for number in range(300):
        if number == 100:
            own_server.freeze()
        if number == 200:
            own_server.thaw()
        await service.decide("shop", ADA)
    sure = 300 - service.counts.failed
    looks = [Descriptor((("who", "ada"),), 0)]
    deadline = time.monotonic() + 10
    while True:
        before = service.counts.failed
        answer = await service.decide("shop", looks)
        if service.counts.failed == before:
            break
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    charged = 100_000 - answer.statuses[0].left
    # What was on its way when it was frozen may have arrived: those that waited for an answer.
    assert store._outage.failures >= 1
    assert sure <= charged <= sure + store._outage.failures


async def test_who_is_over_costs_no_trip_until_there_is_something_again(
    server: RedisServer,
) -> None:
    store = RedisStore(server.url, name="trips", budget=timedelta(seconds=30))
    ask = Ask(FixedWindow("3/d", name="daily"), "ada", drains=True)
    assert [(await store.settle("d", [ask])).refused for _ in range(4)] == [False] * 3 + [True]
    with server.client() as client:
        before = client.info("commandstats")
        other = Ask(FixedWindow("9/d", name="other"), "ada")
        settled = [await store.settle("d", [ask, other]) for _ in range(50)]
        assert all(one.refused for one in settled)
        after = client.info("commandstats")
    calls = [one.get("cmdstat_evalsha", {}).get("calls", 0) for one in (before, after)]
    assert calls[0] == calls[1] > 0
    assert settled[0].verdicts[0].over
    assert not settled[0].verdicts[1].over
    await store.close()


async def test_stores_with_one_name_count_together(server: RedisServer) -> None:
    stores = [RedisStore(server.url, name="both", budget=timedelta(seconds=30)) for _ in range(2)]
    ask = Ask(FixedWindow("10/d"), "ada")
    settled = await asyncio.gather(*(stores[n % 2].settle("d", [ask]) for n in range(16)))
    assert sum(not one.refused for one in settled) == 10
    for one in stores:
        await one.close()


def test_misuse_is_told(server: RedisServer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no address of a Redis"):
        RedisStore("http://here")
    with pytest.raises(TypeError, match="give a URL"):
        RedisStore(cast("str", 7))
    with pytest.raises(ValueError, match="never answer"):
        RedisStore(server.url, budget=timedelta(0))
    with pytest.raises(ValueError, match="keys_max"):
        SharedStore(tmp_path / "x", keys_max=0)
