"""While a real Redis is down, frozen or read-only, limits do what their fail mode says, in time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from moreton.kernel.rng import seeded_rng
from moreton.ratelimit import Gcra
from moreton.ratelimit.errors import LimitStoreUnavailable
from moreton.ratelimit.redis import FailMode, RedisLimiter
from support.redis_server import RedisServer, running_redis

PATIENT = timedelta(seconds=20)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path) as found:
        yield found


MODES = [
    (FailMode.open(), range(40, 41)),
    (FailMode.closed(), range(1)),
    (FailMode(refuse=0.5), range(8, 33)),
    (FailMode.share(0.5), range(10, 11)),
]


@pytest.mark.parametrize("how", ["killed", "frozen"])
@pytest.mark.parametrize(("fail", "allowed"), MODES)
def test_without_the_server_the_fail_mode_decides_within_the_budget(
    own_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
    how: str,
    fail: FailMode,
    allowed: range,
) -> None:
    limiter = RedisLimiter(
        own_server.url,
        Gcra("20/d"),
        fail=fail,
        budget=timedelta(milliseconds=60),
        rng=seeded_rng(7),
    )
    # On a busy machine the first answers may come too late.
    deadline = time.monotonic() + 10
    while limiter.decide("ada", 0).degraded:
        assert time.monotonic() < deadline
    caplog.clear()
    before = limiter.statistics().degraded
    if how == "killed":
        own_server.kill()
    else:
        own_server.freeze()
    began = time.monotonic()
    decisions = [limiter.decide("grace") for _ in range(40)]
    seconds = time.monotonic() - began
    assert all(one.degraded for one in decisions)
    assert sum(one.allowed for one in decisions) in allowed
    # One of them waited for the server, and perhaps another a quarter of a second later.
    assert seconds < 1
    assert limiter.statistics().degraded == before + 40
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    if how == "killed":
        own_server.start()
    else:
        own_server.thaw()
    deadline = time.monotonic() + 10
    while limiter.decide("hopper").degraded:
        assert time.monotonic() < deadline
    assert not limiter.decide("hopper").degraded
    limiter.close()


async def test_a_frozen_server_holds_no_task_longer_than_the_budget(
    own_server: RedisServer,
) -> None:
    limiter = RedisLimiter(own_server.url, Gcra("100/s"), budget=timedelta(milliseconds=50))
    assert await limiter.decide_async("ada")
    own_server.freeze()
    loop = asyncio.get_running_loop()
    began = loop.time()
    decisions = await asyncio.gather(*(limiter.decide_async("ada") for _ in range(100)))
    assert loop.time() - began < 1
    assert all(one.degraded and one.allowed for one in decisions)
    own_server.thaw()
    deadline = loop.time() + 10
    while (await limiter.decide_async("ada")).degraded:
        assert loop.time() < deadline
        await asyncio.sleep(0.01)
    await limiter.aclose()


def test_nobody_pays_twice_when_the_server_is_restarted_under_load(own_server: RedisServer) -> None:
    limiter = RedisLimiter(own_server.url, Gcra("100000/d"), budget=timedelta(milliseconds=90))
    sure = 0
    for number in range(300):
        if number == 100:
            own_server.freeze()
        if number == 200:
            own_server.thaw()
        decision = limiter.decide("ada")
        sure += not decision.degraded
    deadline = time.monotonic() + 10
    while (told := limiter.decide("ada", 0)).degraded:
        assert time.monotonic() < deadline
    charged = 100_000 - told.left
    # What was on its way when it was frozen may have arrived: those that waited for an answer.
    assert sure <= charged <= sure + limiter._outage.failures
    assert limiter._outage.failures >= 1
    limiter.close()


def test_a_server_that_cannot_be_written_says_so_once_and_degrades(
    own_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with own_server.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
    limiter = RedisLimiter(own_server.url, Gcra("100/s"), fail=FailMode.closed(), budget=PATIENT)
    assert not limiter.allow("ada")
    assert not limiter.allow("ada")
    assert "read only replica" in caplog.text
    with pytest.raises(LimitStoreUnavailable, match="were not reset"):
        limiter.reset("ada")
    limiter.close()
