"""Time limits: each attempt gets the least of its own limit and what remains of the whole."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.resilience import Backoff, Policy, Retry, Timeout, TotalTimeout
from moreton.resilience.context import deadline, deadline_var, remaining
from moreton.resilience.errors import DeadlineExceeded
from moreton.resilience.events import Event, TimedOut, listening
from moreton.resilience.timing import SYSTEM
from moreton.testing import VirtualTiming

SECOND = timedelta(seconds=1)
SOON = timedelta(milliseconds=5)


async def for_ever() -> None:
    await asyncio.Event().wait()


@given(st.integers(1, 100), st.integers(1, 100), st.lists(st.integers(0, 30), max_size=8))
def test_each_attempt_gets_the_least_of_its_limit_and_what_remains(
    total: int, each: int, durations: list[int]
) -> None:
    timing = VirtualTiming()
    seen: list[tuple[float, float]] = []
    left = list(durations)

    def work() -> None:
        seen.append((timing.now(), deadline_var.get()))
        if left:
            timing.clock.advance(left.pop() * SECOND)
            raise ConnectionResetError

    layers = [
        TotalTimeout(total * SECOND, timing=timing),
        Retry(attempts=9, idempotent=True, backoff=Backoff.constant(SECOND), timing=timing),
    ]
    if each < total:
        layers.append(Timeout(each * SECOND, timing=timing))
    with contextlib.suppress(ConnectionResetError):
        Policy(*layers).call(work)
    assert seen
    for begun, ends in seen:
        assert ends == min(total, begun + each)
        assert begun < total  # nothing begins when the time is over
    assert deadline_var.get() == float("inf")


async def test_a_coroutine_is_cancelled_when_its_time_is_over() -> None:
    cancelled = False

    async def work() -> None:
        nonlocal cancelled
        try:
            await for_ever()
        except asyncio.CancelledError:
            cancelled = True
            raise

    heard: list[Event] = []
    with listening(heard.append), pytest.raises(DeadlineExceeded, match='"pay" gave up'):
        await Policy(Timeout(SOON, name="pay")).call(work)
    assert cancelled
    assert heard == [TimedOut("pay", 0.005)]
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_the_total_limit_ends_a_call_in_the_middle_of_an_attempt() -> None:
    policy = Policy(TotalTimeout(SOON), Retry(idempotent=True), Timeout(SOON / 2))
    with pytest.raises(DeadlineExceeded):
        await policy.call(for_ever)
    with pytest.raises(DeadlineExceeded):
        await Policy(TotalTimeout(SOON)).call(for_ever)


async def test_a_limit_leaves_a_cancellation_from_outside_alone() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        await for_ever()

    task = asyncio.ensure_future(Policy(Timeout(60 * SECOND)).call(work))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_from_outside_counts_though_the_time_is_over_too() -> None:
    cleaning = asyncio.Event()

    async def work() -> None:
        try:
            await for_ever()
        finally:
            cleaning.set()
            await for_ever()

    task = asyncio.ensure_future(Policy(Timeout(SOON)).call(work))
    await cleaning.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_limit_holds_while_a_cancelled_task_cleans_up() -> None:
    ended: list[BaseException] = []
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await for_ever()
        finally:
            try:
                await Policy(Timeout(SOON)).call(for_ever)
            except BaseException as error:  # noqa: BLE001 - which one is the question
                ended.append(error)

    task = asyncio.ensure_future(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [type(error) for error in ended] == [DeadlineExceeded]


async def test_many_limits_of_one_policy_end_each_at_its_time() -> None:
    policy = Policy(Timeout(SOON))
    quick = [policy.call(asyncio.sleep, 0, number) for number in range(20)]
    slow = [policy.call(for_ever) for _ in range(20)]
    results = await asyncio.gather(*quick, *slow, return_exceptions=True)
    assert results[:20] == list(range(20))
    assert {type(result) for result in results[20:]} == {DeadlineExceeded}


async def test_a_shorter_deadline_from_outside_counts() -> None:
    with deadline(SOON), pytest.raises(DeadlineExceeded):
        await Policy(Timeout(60 * SECOND)).call(for_ever)


async def test_a_call_whose_deadline_has_passed_is_not_begun() -> None:
    begun = False

    def work() -> None:
        nonlocal begun
        begun = True

    async def work_async() -> None:
        work()

    policy = Policy(Timeout(SECOND))
    with deadline(timedelta(0)):
        with pytest.raises(DeadlineExceeded):
            policy.call(work)
        with pytest.raises(DeadlineExceeded):
            await policy.call(work_async)
    assert not begun


def test_deadlines_nest_and_only_shorten() -> None:
    assert remaining() is None
    with deadline(60 * SECOND):
        outer = deadline_var.get()
        with deadline(3600 * SECOND):
            assert deadline_var.get() == outer
        with deadline(SECOND):
            left = remaining()
            assert left is not None
            assert left <= SECOND
        assert deadline_var.get() == outer
    assert remaining() is None
    with pytest.raises(ValueError, match="lies ahead"), deadline(-SECOND):
        pytest.fail("a deadline in the past was set")


async def test_the_deadline_of_a_call_is_not_that_of_its_caller() -> None:
    async def look() -> float:
        return deadline_var.get()

    inside = await Policy(Timeout(SECOND)).call(look)
    assert SYSTEM.now() < inside <= SYSTEM.now() + 1
    assert deadline_var.get() == float("inf")
