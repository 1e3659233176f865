"""Hedges: the first answer counts, the others are cancelled, the extra load is bounded."""

from __future__ import annotations

import asyncio
import gc
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


class SlowToEnd:
    """A call that hangs, and when it is cancelled cleans up until it is released."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.begun = self.ended = self.cut_short = 0

    async def __call__(self) -> str:
        try:
            return await hang()
        finally:
            self.begun += 1
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cut_short += 1
                raise
            self.ended += 1


async def test_the_answer_does_not_wait_for_the_cleanup_of_the_call_that_lost() -> None:
    slow = SlowToEnd()
    policy = Policy(Hedge(AT_ONCE, idempotent=True))
    answered = await asyncio.wait_for(policy.call(Calls(slow, answer).work), 10)
    assert (answered, slow.begun, slow.ended) == ("answer", 1, 0)
    gc.collect()  # nothing but the hedge knows the call that lost
    slow.release.set()
    while not slow.ended:
        await asyncio.sleep(0)


def test_calls_that_lost_are_ended_with_their_loop() -> None:
    slow = SlowToEnd()

    async def once() -> str:
        return await Policy(Hedge(AT_ONCE, idempotent=True)).call(Calls(slow, answer).work)

    with asyncio.Runner() as runner:
        assert runner.run(once()) == "answer"
        assert (slow.begun, slow.cut_short) == (1, 0)
    assert slow.cut_short == 1  # as whatever a loop still has at its end


async def test_more_cleanup_than_allowed_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moreton.resilience.layers.hedge.LOSING_MAX", 2)
    slow = SlowToEnd()
    policy = Policy(Hedge(AT_ONCE, idempotent=True, budget=PLENTY))
    for _ in range(2):
        assert await asyncio.wait_for(policy.call(Calls(slow, answer).work), 10) == "answer"
    third = asyncio.ensure_future(policy.call(Calls(slow, answer).work))
    while slow.begun < 3:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not third.done()
    slow.release.set()
    assert await asyncio.wait_for(third, 10) == "answer"
    assert slow.ended == 3


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
