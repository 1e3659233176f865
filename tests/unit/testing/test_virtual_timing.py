"""Tests of users take no time, whatever their policies wait for."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from moreton.resilience import Backoff, Policy, Retry
from moreton.resilience.timing import SYSTEM, Timing
from moreton.testing import VirtualClock, VirtualTiming, no_backoff

# Far beyond what a test may take: if anything really waited, it would be noticed.
LONG = Backoff.constant(timedelta(hours=1))


class Flaky:
    """Fails *times* times, then answers."""

    def __init__(self, times: int) -> None:
        self.left = times

    def answer(self) -> str:
        if self.left:
            self.left -= 1
            raise ConnectionResetError
        return "answer"

    async def answer_async(self) -> str:
        return self.answer()


def waiting() -> bool:
    return SYSTEM.waits


def test_virtual_timing_is_a_timing_that_begins_with_its_clock() -> None:
    clock = VirtualClock()
    clock.advance(timedelta(seconds=7))
    timing: Timing = VirtualTiming(clock)
    assert timing.now() == 7.0


def test_sleep_moves_the_clock_and_notes_the_wait() -> None:
    timing = VirtualTiming()
    timing.sleep(1.5)
    timing.sleep(0.25)
    assert timing.now() == 1.75
    assert timing.waits == [1.5, 0.25]
    assert timing.clock.now().nanos == 1_750_000_000


def test_a_retry_in_virtual_time_waits_on_the_clock_alone() -> None:
    timing = VirtualTiming()
    retry = Retry(attempts=3, idempotent=True, backoff=LONG, timing=timing)
    assert Policy(retry).call(Flaky(2).answer) == "answer"
    assert timing.now() == 7200.0


async def test_an_asynchronous_retry_in_virtual_time_waits_on_the_clock_alone() -> None:
    timing = VirtualTiming()
    retry = Retry(attempts=3, idempotent=True, backoff=LONG, timing=timing)
    assert await Policy(retry).call(Flaky(2).answer_async) == "answer"
    assert timing.waits == [3600.0, 3600.0]


def test_no_backoff_lets_retries_follow_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", pytest.fail)
    policy = Policy(Retry(attempts=3, idempotent=True, backoff=LONG))
    with no_backoff():
        assert policy.call(Flaky(2).answer) == "answer"


async def test_no_backoff_lets_asynchronous_retries_follow_at_once() -> None:
    policy = Policy(Retry(attempts=3, idempotent=True, backoff=LONG))
    with no_backoff():
        assert await policy.call(Flaky(2).answer_async) == "answer"


def test_no_backoff_leaves_the_number_of_attempts_alone() -> None:
    flaky = Flaky(5)
    with no_backoff(), pytest.raises(ConnectionResetError):
        Policy(Retry(attempts=3, idempotent=True, backoff=LONG)).call(flaky.answer)
    assert flaky.left == 2


def test_no_backoff_ends_with_its_outermost_context() -> None:
    assert waiting()
    with no_backoff():
        with no_backoff():
            pass
        assert not waiting()
    assert waiting()


def test_no_backoff_ends_with_its_context_when_that_fails() -> None:
    def fails_within() -> None:
        with no_backoff():
            raise KeyError

    with pytest.raises(KeyError):
        fails_within()
    assert waiting()
