"""Limits in a real Redis decide as those of one process do, and survive its outages as told."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moreton.ratelimit import (
    AnsweredWindow,
    CalendarWindow,
    Concurrency,
    FixedWindow,
    Gcra,
    LeakyBucket,
    SlidingCounter,
    SlidingLog,
    TokenBucket,
)
from moreton.ratelimit.core.limit import Limit
from moreton.ratelimit.errors import RateLimited
from moreton.ratelimit.local import LocalLimiter
from moreton.ratelimit.redis import FailMode, LeasedLimiter, RedisLimiter
from support.manual_clock import ManualClock
from support.redis_server import RedisServer, running_redis
from support.waits import join_all

NEVER_REMEMBER = timedelta(0)
# For tests in which the server answers, however busy the machine is.
PATIENT = timedelta(seconds=20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as found:
        yield found


@pytest.fixture(autouse=True)
def _empty(server: RedisServer) -> None:
    with server.client() as client:
        client.flushall()
        client.script_flush()
        client.config_resetstat()


KINDS: dict[str, list[Limit]] = {
    "gcra": [Gcra("3/s", burst=4)],
    "leaky bucket": [LeakyBucket("3/s", queue=2)],
    "token bucket": [TokenBucket(5, 2, timedelta(milliseconds=300))],
    "fixed": [FixedWindow("4/s")],
    "two fixed": [FixedWindow("4/s"), FixedWindow("6/2s")],
    "calendar": [CalendarWindow(6, "hour", zone=ZoneInfo("Asia/Kathmandu"))],
    "counter": [SlidingCounter("5/s")],
    "log": [SlidingLog("6/2s")],
    "work": [Concurrency(3, hold=timedelta(seconds=1))],
    "answered": [AnsweredWindow("4/s", hold=timedelta(seconds=3))],
    "all": [
        Gcra("7/s"),
        TokenBucket(9, 9, timedelta(seconds=2)),
        FixedWindow("8/s", name="fixed"),
        SlidingCounter("9/s"),
        SlidingLog("10/s"),
        CalendarWindow(60, "day"),
    ],
}
# Microseconds: the time of Redis has no more.
STEPS = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.integers(0, 5),
        st.one_of(st.sampled_from([0, 1, 333_333, 333_334, 1_000_000]), st.integers(0, 2_500_000)),
        st.sampled_from([0, 0, 400]),
        st.sampled_from([1.0, 1.0, 0.5]),
    ),
    max_size=25,
)


@pytest.mark.parametrize("kind", KINDS)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None
)
@given(steps=STEPS)
def test_it_decides_as_the_limiter_of_one_process_does(
    server: RedisServer, kind: str, steps: list[tuple[str, int, int, int, float]]
) -> None:
    clock = ManualClock()
    with server.client() as client:
        client.flushall()
    shared = RedisLimiter(
        server.url, *KINDS[kind], clock=clock, remember=NEVER_REMEMBER, budget=PATIENT
    )
    shared._at = clock.calendar
    local, was_delayed = LocalLimiter(*KINDS[kind], clock=clock), False
    for key, cost, gap, patience, share in steps:
        clock.nanos += gap * 1000
        wait = timedelta(milliseconds=patience)
        ours = shared.decide(key, cost, patience=wait, share=share)
        theirs = local.decide(key, cost, patience=wait, share=share)
        assert ours.allowed == theirs.allowed
        assert ours.refused_by == theirs.refused_by
        was_delayed |= ours.delay_nanos > 0  # a microsecond is the unit there: rounded up
        assert 0 <= ours.retry_nanos - theirs.retry_nanos < 1000
        assert 0 <= ours.delay_nanos - theirs.delay_nanos < 1000
        assert [one.left for one in ours.standings] == [one.left for one in theirs.standings]
        for one, other in zip(ours.standings, theirs.standings, strict=True):
            # Once one was delayed, perhaps by another limit, up to a microsecond less is owed.
            assert -1000 * was_delayed < one.full_in_nanos - other.full_in_nanos + 1 <= 1000
        if ours.delay_nanos != theirs.delay_nanos:
            break  # the turns are apart by less than a microsecond from here on
        if cost == 2:
            shared.give_back(ours)
            local.give_back(theirs)
        if cost == 3:
            left = [one.left for one in shared.charge(key, 1).standings]
            assert left == [one.left for one in local.charge(key, 1).standings]
    shared.close()


def test_one_trip_is_enough_for_all_limits_of_a_decision(server: RedisServer) -> None:
    limiter = RedisLimiter(server.url, *KINDS["all"], budget=PATIENT)
    assert limiter.allow("ada")  # connects, and brings the script
    with server.client() as client:
        before = client.info("stats")["total_commands_processed"]
        for _ in range(5):
            assert limiter.allow("ada")
        after = client.info("commandstats")
        total = client.info("stats")["total_commands_processed"]
    # Each is one command of the client; the server counts those of the script, too.
    assert after["cmdstat_evalsha"]["calls"] == 6
    assert total > before
    limiter.close()


def test_the_script_is_brought_again_when_the_server_forgot_it(server: RedisServer) -> None:
    limiter = RedisLimiter(server.url, Gcra("3/h"), budget=PATIENT)
    assert limiter.allow("ada")
    with server.client() as client:
        client.script_flush()
    assert [limiter.allow("ada") for _ in range(3)] == [True, True, False]
    limiter.close()


def test_machines_never_get_more_than_the_limit_and_all_of_it(server: RedisServer) -> None:
    got: list[int] = []

    def ask() -> None:
        limiter = RedisLimiter(
            server.url, Gcra("300/d"), FixedWindow("400/d"), Gcra("500/h"), budget=PATIENT
        )
        got.append(sum(limiter.allow("ada") for _ in range(200)))
        limiter.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    join_all(threads)
    assert sum(got) == 300


async def test_tasks_share_it_without_blocking_the_loop(server: RedisServer) -> None:
    limiter = RedisLimiter(server.url, Gcra("30/d"), budget=PATIENT)
    decisions = await asyncio.gather(*(limiter.decide_async("ada") for _ in range(50)))
    assert sum(bool(one) for one in decisions) == 30
    first = next(one for one in decisions if one)
    await limiter.give_back_async(first)
    assert await limiter.decide_async("ada")
    with pytest.raises(RateLimited):
        await limiter.acquire_async("ada")
    await limiter.aclose()


def test_who_is_refused_costs_no_trip_until_it_is_free(server: RedisServer) -> None:
    clock = ManualClock()
    limiter = RedisLimiter(server.url, Gcra("2/s", burst=1), clock=clock, budget=PATIENT)
    limiter._at = clock.calendar
    assert limiter.allow("ada")
    assert not limiter.allow("ada")
    with server.client() as client:
        before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
        clock.advance(0.2)
        assert limiter.decide("ada").retry_in == timedelta(seconds=0.3)
        assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == before
    assert limiter.decide("ada", patience=timedelta(seconds=1)).delay == timedelta(seconds=0.3)
    clock.advance(0.8)
    assert limiter.allow("ada")
    limiter.reset("ada")
    assert limiter.allow("ada")
    limiter.close()


def test_a_window_of_the_calendar_is_that_of_the_server(server: RedisServer) -> None:
    clock = ManualClock()  # years behind the server's
    limiter = RedisLimiter(server.url, CalendarWindow(3, "day"), clock=clock, budget=PATIENT)
    found = [limiter.decide("ada") for _ in range(4)]
    assert [one.allowed for one in found] == [True, True, True, False]
    midnight = found[3].retry_nanos + time.time_ns()
    day = 86_400 * 10**9
    # To the second: between the two clocks were read.
    assert (midnight + 10**9) % day < 2 * 10**9
    limiter.close()


def test_keys_of_a_cluster_are_in_one_slot_or_refused(tmp_path: Path) -> None:
    with running_redis(tmp_path, cluster=True) as server:
        limiter = RedisLimiter(server.url, *KINDS["all"], budget=PATIENT)
        assert [limiter.decide("ada").left for _ in range(2)] == [6, 5]
        assert limiter.decide("").left == 6
        with pytest.raises(ValueError, match="give one_slot=True"):
            limiter.decide(["a", "b", "c", "d", "e", "f"])
        limiter.close()
        together = RedisLimiter(
            server.url, Gcra("2/h"), Gcra("3/h"), name="shop", one_slot=True, budget=PATIENT
        )
        assert [together.decide([one, ""]).allowed for one in "aaabb"] == [
            True, True, False, True, False,
        ]  # fmt: skip
        together.close()

        async def ask() -> int:
            found = RedisLimiter(server.url, Gcra("5/h"), budget=PATIENT)
            left = (await found.decide_async("grace")).left
            await found.aclose()
            return left

        assert asyncio.run(ask()) == 4


def test_leases_need_few_trips_and_overshoot_no_more_than_promised(server: RedisServer) -> None:
    batch, processes, quota = 20, 4, 500
    stores = [
        RedisLimiter(server.url, Gcra(f"{quota}/d"), budget=PATIENT) for _ in range(processes)
    ]
    leased = [LeasedLimiter(store, batch_max=batch) for store in stores]
    got = 0
    for _ in range(400):
        got += sum(one.allow("ada") for one in leased)
    # All of it is used, and what is charged in one window and used in the next is bounded.
    assert quota - batch * processes <= got <= quota + batch * processes
    with server.client() as client:
        trips = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert trips < got / 5
    for store in stores:
        store.close()


def test_a_lease_that_was_not_used_in_time_is_given_back(server: RedisServer) -> None:
    clock = ManualClock()
    store = RedisLimiter(server.url, Gcra("100/d"), clock=clock, budget=PATIENT)
    leased = LeasedLimiter(store, batch_max=16, hold=timedelta(seconds=1))
    for _ in range(7):
        assert leased.allow("ada")  # batches of 1, 2, 4
    assert leased.allow("ada")  # of 8, and 7 are left
    assert store.decide("ada", 0).left == 85
    clock.advance(2)
    assert leased.allow("ada")  # 7 given back, 4 taken
    assert store.decide("ada", 0).left == 88
    decision = leased.decide("ada")
    leased.give_back(decision)
    assert [leased.allow("ada") for _ in range(3)] == [True] * 3
    store.close()


async def test_tasks_that_need_a_batch_ask_for_one_together(server: RedisServer) -> None:
    store = RedisLimiter(server.url, Gcra("50/d"), budget=PATIENT)
    leased = LeasedLimiter(store, batch_max=10)
    found = await asyncio.gather(*(leased.decide_async("ada") for _ in range(80)))
    assert sum(bool(one) for one in found) == 50
    with server.client() as client:
        assert client.info("commandstats")["cmdstat_evalsha"]["calls"] < 30
    await store.aclose()


def test_misuse_is_told(server: RedisServer) -> None:
    with pytest.raises(ValueError, match="is no address of a Redis"):
        RedisLimiter("http://127.0.0.1", Gcra("1/s"))
    with pytest.raises(ValueError, match="share of the requests"):
        FailMode(refuse=1.5)
    with pytest.raises(ValueError, match="cannot be taken ahead"):
        LeasedLimiter(RedisLimiter(server.url, Concurrency(3)))
    with pytest.raises(ValueError, match="never give so much"):
        LeasedLimiter(RedisLimiter(server.url, Gcra("3/s")), batch_max=4)
