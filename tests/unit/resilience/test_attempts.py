"""A policy as a loop does what it does as a decorator."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from moreton.resilience import (
    Backoff,
    Bulkhead,
    CircuitBreaker,
    Fallback,
    Hedge,
    Policy,
    Retry,
    Timeout,
    TotalTimeout,
)
from moreton.resilience.context import attempt_var, deadline_var
from moreton.resilience.errors import CircuitOpen, DeadlineExceeded
from moreton.resilience.layers.layer import Layer
from moreton.testing import VirtualTiming

SECOND = timedelta(seconds=1)


@pytest.fixture
def timing() -> VirtualTiming:
    return VirtualTiming()


def retry(timing: VirtualTiming, attempts: int = 5) -> Retry:
    return Retry(attempts=attempts, idempotent=True, backoff=Backoff.patient(), timing=timing)


def test_a_loop_ends_with_the_first_success(timing: VirtualTiming) -> None:
    begun: list[tuple[int, float, float]] = []
    for attempt in Policy(retry(timing)).attempts():
        with attempt:
            begun.append((attempt.number, attempt.next_delay, timing.now()))
            assert attempt_var.get() == attempt.number
            if attempt.number < 3:
                raise ConnectionResetError
    assert begun == [(1, 0, 0), (2, 2, 2), (3, 6, 8)]
    assert attempt_var.get() == 1


async def test_an_asynchronous_loop_ends_with_the_first_success(timing: VirtualTiming) -> None:
    begun: list[float] = []
    async for attempt in Policy(retry(timing)).attempts():
        async with attempt:
            begun.append(timing.now())
            if attempt.number < 3:
                raise ConnectionResetError
    assert begun == [0, 2, 8]
    assert attempt_var.get() == 1


def loop(policy: Policy, error: BaseException) -> None:
    for attempt in policy.attempts():
        with attempt:
            raise error


async def loop_async(policy: Policy, error: BaseException) -> None:
    async for attempt in policy.attempts():
        async with attempt:
            raise error


async def test_the_last_error_comes_out_of_the_loop(timing: VirtualTiming) -> None:
    with pytest.raises(ConnectionResetError):
        loop(Policy(retry(timing, 2)), ConnectionResetError())
    with pytest.raises(ConnectionResetError):
        await loop_async(Policy(retry(timing, 2)), ConnectionResetError())
    assert timing.waits == [2, 2]


async def test_an_error_of_another_kind_comes_out_at_once(timing: VirtualTiming) -> None:
    for error in (KeyError(), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            loop(Policy(retry(timing)), error)
        with pytest.raises(type(error)):
            await loop_async(Policy(retry(timing)), error)
    assert not timing.waits


def test_a_loop_without_retries_has_one_round() -> None:
    bulkhead = Bulkhead(1)
    rounds = 0
    for attempt in Policy(bulkhead).attempts():
        with attempt:
            rounds += 1
            assert bulkhead.statistics().under_way == 1
    assert rounds == 1
    assert bulkhead.statistics().under_way == 0


def test_outer_layers_are_passed_once_and_inner_ones_for_each_attempt(
    timing: VirtualTiming,
) -> None:
    outer = Bulkhead(1, name="outer")
    inner = CircuitBreaker(timing=timing)
    layers: list[Layer] = [TotalTimeout(20 * SECOND, timing=timing), outer, retry(timing), inner]
    deadlines = set()
    for attempt in Policy(*layers, Timeout(15 * SECOND, timing=timing)).attempts():
        with attempt:
            deadlines.add(deadline_var.get())
            assert outer.statistics().under_way == 1
            if attempt.number < 3:
                raise ConnectionResetError
    assert deadlines == {15, 17, 20}  # fifteen seconds for each, or the end of all
    told = inner.statistics()
    assert (told.calls, told.failed) == (3, 2)
    assert outer.statistics().under_way == 0
    assert deadline_var.get() == float("inf")


def test_a_refusal_of_an_inner_layer_comes_out_and_leaves_nothing_behind(
    timing: VirtualTiming,
) -> None:
    outer = Bulkhead(1)
    breaker = CircuitBreaker(timing=timing)
    policy = Policy(outer, retry(timing), breaker)

    def run() -> None:
        for attempt in policy.attempts():
            with attempt:
                breaker.open()
                raise ConnectionResetError

    with pytest.raises(CircuitOpen):
        run()
    assert timing.waits == [2]
    assert outer.statistics().under_way == 0
    assert attempt_var.get() == 1


async def test_a_refusal_to_an_asynchronous_loop_leaves_nothing_behind(
    timing: VirtualTiming,
) -> None:
    outer = Bulkhead(1)
    breaker = CircuitBreaker(timing=timing)
    breaker.open()
    with pytest.raises(CircuitOpen):
        await loop_async(Policy(outer, retry(timing), breaker), KeyError())
    assert outer.statistics().under_way == 0
    assert attempt_var.get() == 1


async def test_the_time_of_an_asynchronous_attempt_is_limited() -> None:
    async def run() -> None:
        async for attempt in Policy(Timeout(timedelta(milliseconds=5))).attempts():
            async with attempt:
                await never()

    with pytest.raises(DeadlineExceeded):
        await run()


async def never() -> None:
    await asyncio.Event().wait()


async def test_an_attempt_is_entered_as_its_loop_runs(timing: VirtualTiming) -> None:
    policy = Policy(retry(timing))

    async def plain_within_async() -> None:
        async for attempt in policy.attempts():
            with attempt:
                raise ConnectionResetError

    async def async_within_plain() -> None:
        for attempt in policy.attempts():
            async with attempt:
                raise ConnectionResetError

    with pytest.raises(TypeError, match="write `async with`"):
        await plain_within_async()
    with pytest.raises(TypeError, match="write `async for`"):
        await async_within_plain()
    assert not timing.waits


def test_attempts_are_those_of_one_call(timing: VirtualTiming) -> None:
    attempts = Policy(retry(timing)).attempts()
    for attempt in attempts:
        with attempt:
            pass
    with pytest.raises(RuntimeError, match="for each call"):
        next(iter(attempts))


def test_a_loop_that_forgets_its_with_ends_after_one_round(timing: VirtualTiming) -> None:
    assert len(list(Policy(retry(timing)).attempts())) == 1


@pytest.mark.parametrize("layer", [Hedge(SECOND, idempotent=True), Fallback(1)])
def test_layers_that_make_the_call_themselves_are_refused(layer: Layer) -> None:
    with pytest.raises(TypeError, match="makes the call itself"):
        Policy(layer).attempts()
