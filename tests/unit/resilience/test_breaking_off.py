"""What ends a call from outside of it gives back what the call had taken."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from datetime import timedelta
from types import FrameType

import pytest

from moreton.resilience import (
    Backoff,
    BreakerPolicy,
    Bulkhead,
    CircuitBreaker,
    Policy,
    Retry,
    Timeout,
    TotalTimeout,
)
from moreton.resilience.context import deadline_var
from moreton.resilience.core.breaker import BreakerState
from moreton.resilience.errors import DeadlineExceeded
from moreton.testing import VirtualTiming

LONG = timedelta(seconds=60)
SOON = timedelta(milliseconds=5)


class WorkerLimitError(Exception):
    """What a worker's signal handler raises when a task takes too long."""


def fail_in(policy: Policy) -> None:
    for attempt in policy.attempts():
        with attempt:
            raise ConnectionResetError


def test_a_thread_that_a_signal_takes_out_of_the_queue_leaves_no_slot_taken() -> None:
    bulkhead = Bulkhead(1, queue=1, queue_timeout=LONG)
    bulkhead.enter()

    def on_alarm(_number: int, _frame: FrameType | None) -> None:
        raise WorkerLimitError

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        with pytest.raises(WorkerLimitError):
            bulkhead.enter()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert bulkhead.statistics().waiting == 0
    bulkhead.leave(None, None)
    bulkhead.enter()  # the slot was not given to who left


def test_a_slot_that_comes_back_passes_over_who_waited_in_a_loop_that_was_closed() -> None:
    bulkhead = Bulkhead(1, queue=2, queue_timeout=LONG)
    bulkhead.enter()
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # it would tell of the task that never ends
    waiting = loop.create_task(bulkhead.enter_async())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert bulkhead.statistics().waiting == 1
    bulkhead.leave(None, None)
    assert bulkhead.statistics().under_way == bulkhead.statistics().waiting == 0
    assert asyncio.run(Policy(bulkhead).call(asyncio.sleep, 0, "served")) == "served"
    del waiting


async def test_a_loop_that_is_cancelled_between_attempts_leaves_its_gates() -> None:
    bulkhead = Bulkhead(1)
    policy = Policy(
        TotalTimeout(3 * LONG), bulkhead, Retry(attempts=3, backoff=Backoff.constant(LONG))
    )
    failed = asyncio.Event()
    left: list[float] = []

    async def work() -> None:
        try:
            async for attempt in policy.attempts():
                async with attempt:
                    failed.set()
                    raise ConnectionRefusedError
        finally:
            left.append(deadline_var.get())

    task = asyncio.create_task(work())
    await failed.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bulkhead.statistics().under_way == 0
    assert left == [float("inf")]


def test_a_loop_that_is_left_between_attempts_leaves_its_gates() -> None:
    bulkhead = Bulkhead(1)
    for _ in Policy(bulkhead, Retry(attempts=3)).attempts():
        break
    assert bulkhead.statistics().under_way == 0


def test_a_loop_whose_wait_is_interrupted_leaves_its_gates() -> None:
    class Interrupted(VirtualTiming):
        def sleep(self, seconds: float) -> None:  # noqa: ARG002 - as of a timing
            raise KeyboardInterrupt

    bulkhead = Bulkhead(1)
    timing = Interrupted()
    policy = Policy(bulkhead, Retry(attempts=3, idempotent=True, timing=timing))
    with pytest.raises(KeyboardInterrupt):
        fail_in(policy)
    assert bulkhead.statistics().under_way == 0


def test_a_loop_whose_predicate_fails_leaves_its_gates() -> None:
    def wrong(error: BaseException) -> bool:
        raise LookupError(error)

    bulkhead = Bulkhead(1)
    with pytest.raises(LookupError) as kept:
        fail_in(Policy(bulkhead, Retry(attempts=3, on=wrong)))
    assert bulkhead.statistics().under_way == 0
    assert isinstance(kept.value.__context__, ConnectionResetError)


LIMITED: list[Callable[[Bulkhead], Policy]] = [
    lambda bulkhead: Policy(TotalTimeout(SOON), bulkhead, Retry(attempts=2)),
    lambda bulkhead: Policy(Retry(attempts=2), Timeout(SOON), bulkhead),
]


@pytest.mark.parametrize("policy_of", LIMITED)
async def test_a_time_limit_that_ends_the_wait_for_a_slot_in_a_loop_says_so(
    policy_of: Callable[[Bulkhead], Policy],
) -> None:
    timing = VirtualTiming()  # so that the queue does not give up at the same moment
    bulkhead = Bulkhead(1, queue=1, queue_timeout=LONG, timing=timing)
    bulkhead.enter()

    async def run() -> None:
        async for attempt in policy_of(bulkhead).attempts():
            async with attempt:
                pass

    with pytest.raises(DeadlineExceeded):
        await run()
    assert bulkhead.statistics().waiting == 0


@pytest.mark.parametrize("slow", [None, LONG])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_breaker_whose_predicate_fails_still_lets_calls_try(
    slow: timedelta | None,
    is_async: bool,  # noqa: FBT001 - a parameter of a test
) -> None:
    def wrong(error: BaseException) -> bool:
        raise LookupError(error)

    timing = VirtualTiming()
    breaker = CircuitBreaker(
        BreakerPolicy(permits=1, successes=1, slow_call=slow), failed=wrong, timing=timing
    )
    works = False

    def work() -> str:
        if not works:
            raise ConnectionResetError
        return "works"

    async def work_async() -> str:
        return work()

    def call() -> str:
        if is_async:
            return asyncio.run(Policy(breaker).call(work_async))
        return Policy(breaker).call(work)

    breaker.open()
    timing.sleep(60)
    for _ in range(3):
        with pytest.raises(LookupError):
            call()
        assert breaker.state is BreakerState.HALF_OPEN
    works = True
    assert call() == "works"
    assert breaker.state is BreakerState.CLOSED
