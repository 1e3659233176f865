"""Under load no decision waits longer than its budget for a Redis that is slow, or away."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis, RedisError

from moreton.ratelimit import FixedWindow, Gcra
from moreton.ratelimit.redis import FailMode, RedisLimiter
from support.redis_server import RedisServer, running_redis
from support.waits import join_all

pytestmark = pytest.mark.soak
BUDGET = 0.1
SECONDS = 6.0
THREADS, TASKS = 4, 100
FAR = 10**9
NEVER_FREE = FixedWindow(f"{FAR}/3650d")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path) as found:
        yield found


def trouble(server: RedisServer, until: float) -> None:
    """Slow for a while again and again, then killed and started."""
    while time.monotonic() < until - SECONDS / 3:
        with server.client() as client:
            client.execute_command("CLIENT", "PAUSE", "300", "ALL")
        time.sleep(0.6)
    server.kill()
    time.sleep(SECONDS / 6)
    server.start()


def check(waits: list[float], limiter: RedisLimiter) -> None:
    waits.sort()
    degraded = limiter.statistics().degraded
    assert len(waits) > 1000
    # It was in trouble for a good part of the time, and most were told at once nevertheless.
    assert degraded > 100
    assert waits[int(len(waits) * 0.99)] <= BUDGET
    assert waits[-1] <= BUDGET + 0.1  # that of a busy machine


def check_charged(server: RedisServer, sure: int, failures: int) -> None:
    """Who was told by the server was charged once; who was not, once at most."""
    found = RedisLimiter(server.url, NEVER_FREE, budget=timedelta(seconds=20))
    charged = FAR - found.decide("ada", 0).left
    assert sure <= charged <= sure + failures
    found.close()


def test_threads(server: RedisServer) -> None:
    limiter = RedisLimiter(
        server.url, Gcra(f"{FAR}/d"), fail=FailMode.open(), budget=timedelta(seconds=BUDGET)
    )
    limiter.allow("ada", 0)
    until = time.monotonic() + SECONDS
    waits: list[float] = []

    def ask() -> None:
        while time.monotonic() < until:
            began = time.perf_counter()
            assert limiter.decide("ada")
            waits.append(time.perf_counter() - began)
            time.sleep(0.001)

    threads = [threading.Thread(target=ask) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    trouble(server, until)
    join_all(threads)
    check(waits, limiter)
    assert not limiter.decide("ada").degraded
    limiter.close()


async def test_tasks(server: RedisServer) -> None:
    limiter = RedisLimiter(
        server.url, Gcra(f"{FAR}/d"), fail=FailMode.open(), budget=timedelta(seconds=BUDGET)
    )
    await limiter.decide_async("ada", 0)
    until = time.monotonic() + SECONDS
    waits: list[float] = []

    async def ask() -> None:
        while time.monotonic() < until:
            began = time.perf_counter()
            assert await limiter.decide_async("ada")
            waits.append(time.perf_counter() - began)
            await asyncio.sleep(0.02)

    asking = [asyncio.create_task(ask()) for _ in range(TASKS)]
    await asyncio.to_thread(trouble, server, until)
    await asyncio.gather(*asking)
    check(waits, limiter)
    assert not (await limiter.decide_async("ada")).degraded
    await limiter.aclose()


def test_nobody_is_billed_twice_by_a_server_that_is_slow_again_and_again(
    server: RedisServer,
) -> None:
    limiter = RedisLimiter(server.url, NEVER_FREE, budget=timedelta(seconds=BUDGET))
    limiter.allow("ada", 0)
    until, sure = time.monotonic() + SECONDS, 0
    ended = threading.Event()

    def pause() -> None:
        while not ended.wait(0.4):
            try:
                with Redis(unix_socket_path=str(server.socket)) as client:
                    client.execute_command("CLIENT", "PAUSE", "200", "ALL")
            except RedisError:
                return

    thread = threading.Thread(target=pause)
    thread.start()
    while time.monotonic() < until:
        sure += not limiter.decide("ada").degraded
    ended.set()
    join_all([thread])
    assert limiter.statistics().degraded > 100
    check_charged(server, sure, limiter._outage.failures)
    limiter.close()
