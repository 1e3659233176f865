"""A bulkhead under tasks and threads: its limit holds, who waits is served in turn."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moreton.kernel.rng import seeded_rng
from moreton.resilience import Bulkhead, Policy, TotalTimeout
from moreton.resilience.context import deadline
from moreton.resilience.errors import BulkheadFull
from moreton.resilience.events import CallRefused, Event, listening
from moreton.testing import VirtualTiming

LONG = timedelta(seconds=60)


class Inside:
    """Counts who is inside, and the most that ever were."""

    def __init__(self) -> None:
        self.now = self.most = self.served = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.served += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


@given(st.integers(1, 5), st.integers(0, 20), st.integers(1, 40), st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_tasks_never_exceed_the_limit_whatever_their_order_and_who_is_cancelled(
    limit: int, queue: int, calls: int, seed: int
) -> None:
    rng = seeded_rng(seed)
    bulkhead = Bulkhead(limit, queue=queue, queue_timeout=LONG)
    inside = Inside()

    async def work() -> None:
        with inside:
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            if rng.random() < 0.2:
                raise KeyError

    async def scene() -> list[BaseException | None]:
        policy = Policy(bulkhead)
        tasks = [asyncio.ensure_future(policy.call(work)) for _ in range(calls)]
        for task in tasks:
            if rng.random() < 0.3:
                await asyncio.sleep(0)
                task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(scene())
    assert inside.most <= limit
    kinds = {type(result) for result in results}
    assert kinds <= {type(None), KeyError, BulkheadFull, asyncio.CancelledError}
    if calls <= limit + queue:
        assert BulkheadFull not in kinds
    told = bulkhead.statistics()
    assert (told.under_way, told.waiting) == (0, 0)
    assert told.refused_total == sum(isinstance(result, BulkheadFull) for result in results)


@pytest.mark.parametrize("limit", [1, 3])
def test_threads_and_tasks_together_never_exceed_the_limit(limit: int) -> None:
    policy = Policy(Bulkhead(limit, queue=1000, queue_timeout=LONG))
    inside = Inside()

    def work() -> None:
        with inside:
            pass

    async def work_async() -> None:
        with inside:
            await asyncio.sleep(0)

    def many() -> None:
        for _ in range(200):
            policy.call(work)

    async def many_async() -> None:
        await asyncio.gather(*(policy.call(work_async) for _ in range(100)))

    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(many) for _ in range(4)]
        futures += [pool.submit(lambda: asyncio.run(many_async())) for _ in range(2)]
        for future in futures:
            future.result(timeout=30)
    assert inside.served == 1000
    assert inside.most <= limit
    assert policy.statistics()["bulkhead"] == Bulkhead(limit).statistics()


async def test_who_waits_is_served_in_the_order_of_coming() -> None:
    bulkhead = Bulkhead(1, queue=10, queue_timeout=LONG)
    gate = asyncio.Event()
    order: list[int] = []

    async def work(number: int) -> None:
        await gate.wait()
        order.append(number)

    policy = Policy(bulkhead)
    tasks = [asyncio.ensure_future(policy.call(work, number)) for number in range(8)]
    await until(lambda: bulkhead.statistics().waiting == 7)
    gate.set()
    await asyncio.gather(*tasks)
    assert order == list(range(8))


async def test_nobody_overtakes_who_waits() -> None:
    bulkhead = Bulkhead(1, queue=1, queue_timeout=LONG)
    await bulkhead.enter_async()
    waiting = asyncio.ensure_future(bulkhead.enter_async())
    await until(lambda: bulkhead.statistics().waiting == 1)
    bulkhead.leave(None, None)  # the slot is granted, though the task has not run yet
    newcomer = asyncio.ensure_future(bulkhead.enter_async())
    await waiting
    await until(lambda: bulkhead.statistics().waiting == 1)
    bulkhead.leave(None, None)
    await newcomer
    assert bulkhead.statistics().under_way == 1


async def test_a_cancelled_waiter_gives_its_place_and_its_slot_on() -> None:
    bulkhead = Bulkhead(1, queue=2, queue_timeout=LONG)
    await bulkhead.enter_async()
    first = asyncio.ensure_future(bulkhead.enter_async())
    second = asyncio.ensure_future(bulkhead.enter_async())
    await until(lambda: bulkhead.statistics().waiting == 2)
    bulkhead.leave(None, None)  # granted to the first...
    first.cancel()  # ...which is cancelled before it could run
    with pytest.raises(asyncio.CancelledError):
        await first
    await asyncio.wait_for(second, 10)
    assert bulkhead.statistics().under_way == 1
    third = asyncio.ensure_future(bulkhead.enter_async())
    await until(lambda: bulkhead.statistics().waiting == 1)
    third.cancel()
    with pytest.raises(asyncio.CancelledError):
        await third
    assert bulkhead.statistics().waiting == 0


async def test_beyond_the_queue_calls_are_refused_at_once_with_the_reason() -> None:
    bulkhead = Bulkhead(1, queue=1, queue_timeout=LONG, name="stock")
    await bulkhead.enter_async()
    waiting = asyncio.ensure_future(bulkhead.enter_async())
    await until(lambda: bulkhead.statistics().waiting == 1)
    heard: list[Event] = []
    with listening(heard.append), pytest.raises(BulkheadFull, match="the queue is full"):
        await bulkhead.enter_async()
    with pytest.raises(BulkheadFull, match="all 1 slots"):
        bulkhead.enter()
    assert heard == [CallRefused("stock", "bulkhead-full")]
    waiting.cancel()


async def test_nobody_waits_longer_than_the_queue_allows_or_the_deadline() -> None:
    soon = timedelta(milliseconds=5)
    for bulkhead, limit in (
        (Bulkhead(1, queue=1, queue_timeout=soon), LONG),
        (Bulkhead(1, queue=1, queue_timeout=LONG), soon),
    ):
        bulkhead.enter()
        with deadline(limit):
            with pytest.raises(BulkheadFull, match="none was free"):
                bulkhead.enter()
            with pytest.raises(BulkheadFull):
                await bulkhead.enter_async()
        assert bulkhead.statistics().waiting == 0
        bulkhead.leave(None, None)
        bulkhead.enter()  # the slot was not lost


async def test_a_deadline_in_virtual_time_lets_a_call_wait_as_one_in_real_time_does() -> None:
    timing = VirtualTiming()
    bulkhead = Bulkhead(1, queue=1, queue_timeout=LONG, timing=timing)
    policy = Policy(TotalTimeout(LONG, timing=timing), bulkhead)
    bulkhead.enter()
    waiting = asyncio.ensure_future(policy.call(asyncio.sleep, 0, "served"))
    await until(lambda: bulkhead.statistics().waiting == 1)
    bulkhead.leave(None, None)
    assert await waiting == "served"


def test_a_thread_waits_for_a_slot() -> None:
    bulkhead = Bulkhead(1, queue=1, queue_timeout=LONG)
    bulkhead.enter()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(bulkhead.enter)
        while not bulkhead.statistics().waiting:
            pass
        bulkhead.leave(None, None)
        waiting.result(timeout=10)
    assert bulkhead.statistics().under_way == 1
