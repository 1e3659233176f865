"""Three real nodes of a Redis cluster decide as one, and of one that dies others know nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from redis import Redis

from moreton.ratelimit import Concurrency, FixedWindow, Gcra
from moreton.ratelimit.redis import FailMode, LeasedLimiter, RedisLimiter
from support.redis_server import RedisServer

pytestmark = pytest.mark.soak
SLOTS = 16_384
PATIENT = timedelta(seconds=20)


@pytest.fixture
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    found = [
        RedisServer(tmp_path_factory.mktemp(f"node{number}"), cluster=True, slots=range(0))
        for number in range(3)
    ]
    try:
        for node in found:
            node.start()
        _join(found)
        yield found
    finally:
        for node in found:
            node.kill()


def _join(nodes: list[RedisServer]) -> None:
    for number, node in enumerate(nodes):
        with node.client() as client:
            share = range(SLOTS * number // 3, SLOTS * (number + 1) // 3)
            client.execute_command("CLUSTER", "ADDSLOTS", *share)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)
    for node in nodes:
        _wait_for(node)


def _wait_for(node: RedisServer) -> None:
    deadline = time.monotonic() + 60
    with node.client() as client:
        while True:
            told = client.execute_command("CLUSTER", "INFO")
            if b"cluster_state:ok" in told and b"cluster_known_nodes:3" in told:
                return
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _keys_at(node: RedisServer) -> int:
    with Redis(unix_socket_path=str(node.socket)) as client:
        return int(client.dbsize())


def test_keys_are_spread_and_each_has_its_limit(nodes: list[RedisServer]) -> None:
    limits = [Gcra("3/d"), FixedWindow("9/d"), Concurrency(5)]
    one = RedisLimiter(nodes[0].url, *limits, budget=PATIENT)
    two = RedisLimiter(nodes[2].url, *limits, budget=PATIENT)
    for number in range(60):
        key = f"tenant {number}"
        assert [bool(each.decide(key)) for each in (one, two, one, two)] == [True] * 3 + [False]
    assert all(_keys_at(node) > 30 for node in nodes)
    one.close()
    two.close()


def test_leases_work_in_a_cluster(nodes: list[RedisServer]) -> None:
    store = RedisLimiter(nodes[1].url, Gcra("100/365d"), budget=PATIENT)
    leased = LeasedLimiter(store, batch_max=10)
    assert sum(leased.allow("ada") for _ in range(150)) == 100
    store.close()


async def test_a_node_that_dies_ends_its_share_alone_within_the_budget(
    nodes: list[RedisServer],
) -> None:
    budget = timedelta(milliseconds=400)
    one = RedisLimiter(nodes[0].url, Gcra("1000/d"), fail=FailMode.closed(), budget=budget)
    keys = [f"tenant {number}" for number in range(30)]
    deadline = time.monotonic() + 20
    while any([(await one.decide_async(key)).degraded for key in keys]):
        assert time.monotonic() < deadline
    nodes[2].kill()
    waits = []
    for key in keys:
        began = time.monotonic()
        await one.decide_async(key)
        waits.append(time.monotonic() - began)
    assert max(waits) <= budget.total_seconds() + 0.2
    assert one.statistics().degraded > 0
    await one.aclose()
