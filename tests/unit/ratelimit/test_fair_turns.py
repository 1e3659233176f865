"""One tenant's surge makes that tenant wait, and nobody else."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.ratelimit import Concurrency, Gcra, LocalLimiter
from moreton.ratelimit.core.fair import FairQueue
from moreton.ratelimit.errors import QueueFull
from moreton.ratelimit.fair import FairTurns
from support.manual_clock import ManualClock


def test_tenants_are_served_by_their_weights() -> None:
    queue: FairQueue[int] = FairQueue(1000)
    for number in range(300):
        queue.put(number, "surge")
    for number in range(60):
        queue.put(number, "calm")
        queue.put(number, "paid", weight=3)
    first = Counter(one.tenant for _ in range(100) if (one := queue.pop()) is not None)
    assert first["calm"] == pytest.approx(20, abs=2)
    assert first["surge"] == pytest.approx(20, abs=2)
    assert first["paid"] == pytest.approx(60, abs=2)


def test_who_comes_late_does_not_catch_up_on_the_past() -> None:
    queue: FairQueue[int] = FairQueue(1000)
    for number in range(100):
        queue.put(number, "first")
    for _ in range(50):
        queue.pop()
    for number in range(50):
        queue.put(number, "second")
    order = [one.tenant for _ in range(20) if (one := queue.pop()) is not None]
    assert Counter(order)["second"] == pytest.approx(10, abs=1)


def test_a_full_queue_sheds_the_longest() -> None:
    queue: FairQueue[int] = FairQueue(10)
    lost = [queue.put(number, "surge") for number in range(12)]
    assert [one.item for one in lost if one] == [10, 11]
    shed = queue.put(0, "calm")
    assert shed is not None
    assert (shed.tenant, len(queue)) == ("surge", 10)


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.booleans()), max_size=60))
def test_each_tenant_is_served_in_its_order_and_nothing_is_lost(
    steps: list[tuple[str, int, bool]],
) -> None:
    queue: FairQueue[int] = FairQueue(100)
    put: dict[str, list[int]] = {}
    served: dict[str, list[int]] = {}
    for number, (tenant, cost, pops) in enumerate(steps):
        assert queue.put(number, tenant, cost=cost) is None
        put.setdefault(tenant, []).append(number)
        if pops and (one := queue.pop()) is not None:
            served.setdefault(one.tenant, []).append(one.item)
    while (one := queue.pop()) is not None:
        served.setdefault(one.tenant, []).append(one.item)
    assert served == put
    assert len(queue) == 0


async def test_turns_are_shared_among_tenants() -> None:
    turns = FairTurns(LocalLimiter(Gcra("10/s", burst=1), clock=ManualClock()), most=200)
    order: list[str] = []

    async def call(tenant: str) -> None:
        await turns.acquire(tenant)
        order.append(tenant)

    surge = [asyncio.create_task(call("surge")) for _ in range(150)]
    calm = [asyncio.create_task(call("calm")) for _ in range(10)]
    await asyncio.gather(*surge, *calm)
    assert Counter(order[:24])["calm"] == 10


async def test_who_is_too_many_is_told_and_who_leaves_gives_its_turn_on() -> None:
    turns = FairTurns(LocalLimiter(Gcra("10/s", burst=1), clock=ManualClock()), most=3)
    tasks = [asyncio.create_task(turns.acquire("surge")) for _ in range(5)]
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(one, QueueFull) for one in found) == 2
    left = asyncio.create_task(turns.acquire("ada"))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.gather(left, turns.acquire("grace"), return_exceptions=True)


async def test_a_cost_is_charged_when_its_turn_has_come() -> None:
    clock = ManualClock()
    turns = FairTurns(LocalLimiter(Gcra("10/s", burst=1), clock=clock))
    await asyncio.gather(turns.acquire("ada", cost=20), turns.acquire("ada"))
    assert sum(clock.slept) == pytest.approx(2.0)


async def test_an_error_of_the_limiter_reaches_all_who_wait() -> None:
    limiter = LocalLimiter(Gcra("10/s"), Gcra("1/s"), clock=ManualClock())
    turns = FairTurns(limiter, ("one", "two", "three"))
    found = await asyncio.gather(
        turns.acquire("ada"), turns.acquire("grace"), return_exceptions=True
    )
    assert [type(one) for one in found] == [ValueError, ValueError]


def test_work_under_way_is_no_limit_for_turns() -> None:
    with pytest.raises(ValueError, match="which no turn would give back"):
        FairTurns(LocalLimiter(Concurrency(1)))
