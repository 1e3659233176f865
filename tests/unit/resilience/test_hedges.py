"""Hedges: the first answer counts, the others are cancelled, the extra load is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from moreton.resilience import Hedge, Policy, RetryBudget
from moreton.resilience.events import Event, Hedged, listening

AT_ONCE = timedelta(microseconds=1)
LONG = timedelta(seconds=60)
PLENTY = RetryBudget(10, per_second=1000)


class Calls:
    """The behaviour of each call in turn; counts who began and who was cancelled."""

    def __init__(self, *behaviours: Callable[[], Awaitable[str]]) -> None:
        self.behaviours = list(behaviours)
        self.begun = self.cancelled = 0

    async def work(self) -> str:
        behaviour = self.behaviours[min(self.begun, len(self.behaviours) - 1)]
        self.begun += 1
        try:
            return await behaviour()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


async def hang() -> str:
    await asyncio.Event().wait()
    return "never"


async def answer() -> str:
    return "answer"


async def fail() -> str:
    raise ConnectionResetError


async def fail_late() -> str:
    await asyncio.sleep(0)
    raise KeyError


async def test_a_quick_answer_is_not_hedged() -> None:
    calls = Calls(answer)
    hedge = Hedge(LONG, idempotent=True)
    assert await Policy(hedge).call(calls.work) == "answer"
    assert calls.begun == 1
    told = hedge.statistics()
    assert (told.calls, told.hedges, told.won) == (1, 0, 0)


async def test_the_second_call_wins_over_one_that_hangs_which_is_cancelled() -> None:
    calls = Calls(hang, answer)
    hedge = Hedge(AT_ONCE, idempotent=True, name="stock")
    heard: list[Event] = []
    with listening(heard.append):
        assert await Policy(hedge).call(calls.work) == "answer"
    assert (calls.begun, calls.cancelled) == (2, 1)
    assert hedge.statistics().won == 1
    assert heard == [Hedged("stock")]


async def test_an_error_waits_for_the_call_that_is_still_under_way() -> None:
    release = asyncio.Event()

    async def fail_when_released() -> str:
        await release.wait()
        raise ConnectionResetError

    async def release_and_answer() -> str:
        release.set()
        for _ in range(5):
            await asyncio.sleep(0)
        return "answer"

    calls = Calls(fail_when_released, release_and_answer)
    assert await Policy(Hedge(AT_ONCE, idempotent=True)).call(calls.work) == "answer"


async def test_when_all_fail_the_error_of_the_first_comes_out() -> None:
    release = asyncio.Event()

    async def first() -> str:
        await release.wait()
        raise ConnectionResetError

    async def second() -> str:
        release.set()
        raise KeyError

    calls = Calls(first, second)
    with pytest.raises(ConnectionResetError):
        await Policy(Hedge(AT_ONCE, idempotent=True)).call(calls.work)
    assert calls.begun == 2


async def test_a_quick_error_is_not_hedged_but_raised() -> None:
    calls = Calls(fail)
    with pytest.raises(ConnectionResetError):
        await Policy(Hedge(LONG, idempotent=True)).call(calls.work)
    assert calls.begun == 1


async def test_no_more_hedges_than_allowed_are_under_way() -> None:
    begun = asyncio.Event()
    calls = Calls(hang, hang, hang, hang)

    async def work() -> str:
        if calls.begun == 3:
            begun.set()
        return await calls.work()

    hedge = Hedge(AT_ONCE, idempotent=True, hedges=3, budget=PLENTY)
    task = asyncio.ensure_future(Policy(hedge).call(work))
    await asyncio.wait_for(begun.wait(), 10)
    for _ in range(50):
        await asyncio.sleep(0)
    assert calls.begun == 4
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert calls.cancelled == 4  # nothing outlives the call


async def test_the_budget_bounds_how_many_calls_are_hedged() -> None:
    hedge = Hedge(AT_ONCE, idempotent=True, budget=RetryBudget(0.1, per_second=0.5))

    def asked() -> int:
        told = hedge.budget.statistics()
        return told.retries + told.refused_total

    async def slow() -> str:
        while asked() < hedge.statistics().calls:  # until a second one was wanted
            await asyncio.sleep(0)
        return "late"

    policy = Policy(hedge)
    for _ in range(40):
        await policy.call(slow)
    told = hedge.statistics()
    assert told.calls == 40
    assert told.hedges == 5  # half a second's worth times ten; a tenth of 40 is less
    assert hedge.budget.statistics().retries == 5
    assert hedge.budget.statistics().refused_total == 35
