"""The breaker as a layer: what counts, who passes, one for every key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from moreton.kernel.rng import seeded_rng
from moreton.resilience import BreakerPolicy, Breakers, CircuitBreaker, Policy
from moreton.resilience.core.breaker import Breaker, BreakerState
from moreton.resilience.errors import BulkheadFull, CircuitOpen
from moreton.resilience.events import BreakerChanged, CallRefused, Event, listening
from moreton.resilience.kinds import Kinds
from moreton.testing import VirtualTiming

SECOND = timedelta(seconds=1)
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
WINDOWS = [10, 10 * SECOND]
SLOW = [None, 2 * SECOND]  # a breaker that looks at the time of calls has a way of its own


@pytest.fixture
def timing() -> VirtualTiming:
    return VirtualTiming()


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Callable[..., object]:
    def call(breaker: CircuitBreaker, work: Callable[[], object]) -> object:
        async def work_async() -> object:
            return work()

        if request.param:
            return asyncio.run(Policy(breaker).call(work_async))
        return Policy(breaker).call(work)

    return call


def good() -> str:
    return "good"


def bad() -> None:
    raise ConnectionResetError


Run = Callable[[CircuitBreaker, Callable[[], object]], object]


def fail(run: Run, breaker: CircuitBreaker, times: int, work: Callable[[], object] = bad) -> None:
    for _ in range(times):
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever *work* raises
            run(breaker, work)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("slow_call", SLOW)
def test_it_opens_when_enough_calls_failed_and_closes_when_trials_succeed(
    run: Run, timing: VirtualTiming, window: int | timedelta, slow_call: timedelta | None
) -> None:
    policy = BreakerPolicy(
        window=window, minimum_calls=4, failure_rate=0.5, slow_call=slow_call, jitter=0, permits=1
    )
    breaker = CircuitBreaker(policy, name="pay", timing=timing)
    heard: list[Event] = []
    with listening(heard.append):
        for _ in range(3):
            assert run(breaker, good) == "good"
        fail(run, breaker, 2)
        assert breaker.state is CLOSED  # two of five
        fail(run, breaker, 1)
        assert breaker.state is OPEN  # three of six
        with pytest.raises(CircuitOpen, match=r'"pay" is open.*in 5\.0 s') as caught:
            run(breaker, good)
        assert caught.value.retry_in == 5 * SECOND
        timing.clock.advance(5 * SECOND)
        for _ in range(3):
            assert run(breaker, good) == "good"
        assert breaker.state is CLOSED
    assert heard == [
        BreakerChanged("pay", OPEN),
        CallRefused("pay", "circuit-open"),
        BreakerChanged("pay", HALF_OPEN),
        BreakerChanged("pay", CLOSED),
    ]
    told = breaker.statistics()
    assert (told.opened_total, told.refused_total, told.calls) == (1, 1, 0)


def test_one_failed_trial_opens_it_again(run: Run, timing: VirtualTiming) -> None:
    breaker = CircuitBreaker(timing=timing)
    breaker.open()
    timing.clock.advance(10 * SECOND)
    assert run(breaker, good) == "good"
    assert breaker.state is HALF_OPEN
    fail(run, breaker, 1)
    assert breaker.state is OPEN


def test_slow_calls_open_it_though_they_succeed(run: Run, timing: VirtualTiming) -> None:
    policy = BreakerPolicy(window=4, minimum_calls=4, slow_call=SECOND, slow_call_rate=0.5)
    breaker = CircuitBreaker(policy, timing=timing)

    def slow() -> None:
        timing.clock.advance(2 * SECOND)

    for work in (good, slow, good):
        run(breaker, work)
    assert breaker.state is CLOSED
    run(breaker, slow)
    assert breaker.state is OPEN


def test_no_failure_is_passed_over_where_slow_calls_count() -> None:
    """Not even by the short way: it may be the call that makes the slow ones enough."""
    policy = BreakerPolicy(
        failure_rate=1, window=6, minimum_calls=4, slow_call=timedelta(seconds=1)
    )
    breaker, rng = Breaker(policy), seeded_rng(0)
    assert not breaker.slow(1, 100.0, rng)
    assert not breaker.slow(1, 100.0, rng)
    assert not breaker.failed(1, 100.0, rng)
    assert not breaker.window.note_failure()
    assert breaker.failed(1, 100.0, rng), "two of four were slow"


@pytest.mark.parametrize("slow_call", SLOW)
def test_refusals_of_other_layers_never_count(
    run: Run, timing: VirtualTiming, slow_call: timedelta | None
) -> None:
    breaker = CircuitBreaker(
        BreakerPolicy(window=4, minimum_calls=2, slow_call=slow_call),
        failed=lambda _: True,
        timing=timing,
    )

    def refused() -> None:
        raise BulkheadFull("full")

    fail(run, breaker, 10, refused)
    assert breaker.state is CLOSED
    assert breaker.statistics().calls == 0


@pytest.mark.parametrize("kinds", [OSError, (OSError, EOFError), lambda e: isinstance(e, OSError)])
def test_only_the_errors_that_one_names_count(
    run: Run, timing: VirtualTiming, kinds: Kinds
) -> None:
    breaker = CircuitBreaker(
        BreakerPolicy(window=4, minimum_calls=2),
        failed=kinds,
        timing=timing,
    )

    def wrong() -> None:
        raise KeyError

    fail(run, breaker, 5, wrong)
    assert breaker.state is CLOSED
    assert breaker.statistics().calls == 4  # they count as answers
    fail(run, breaker, 2)
    assert breaker.state is OPEN


@pytest.mark.parametrize("slow_call", SLOW)
@pytest.mark.parametrize("window", WINDOWS)
async def test_what_began_before_it_opened_says_nothing_afterwards(
    timing: VirtualTiming, window: int | timedelta, slow_call: timedelta | None
) -> None:
    policy = BreakerPolicy(window=window, minimum_calls=4, slow_call=slow_call)
    breaker = CircuitBreaker(policy, timing=timing)
    release = asyncio.Event()

    async def work(*, fails: bool) -> None:
        await release.wait()
        if fails:
            raise ConnectionResetError

    calls = [asyncio.ensure_future(Policy(breaker).call(work, fails=n > 3)) for n in range(8)]
    await asyncio.sleep(0)
    breaker.open()
    breaker.close()
    release.set()
    await asyncio.gather(*calls, return_exceptions=True)
    assert breaker.state is CLOSED
    assert breaker.statistics().calls == 0


async def test_a_cancelled_trial_gives_its_permit_back(timing: VirtualTiming) -> None:
    breaker = CircuitBreaker(BreakerPolicy(permits=1, successes=1), timing=timing)
    breaker.open()
    timing.clock.advance(60 * SECOND)
    begun = asyncio.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    trial = asyncio.ensure_future(Policy(breaker).call(hang))
    await begun.wait()
    with pytest.raises(CircuitOpen):
        Policy(breaker).call(good)
    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial
    assert Policy(breaker).call(good) == "good"
    assert breaker.state is CLOSED


def test_the_time_it_stays_open_is_jittered(timing: VirtualTiming) -> None:
    lengths = []
    for seed in range(20):
        breaker = CircuitBreaker(
            BreakerPolicy(open_for=10 * SECOND, jitter=0.5), timing=timing, rng=seeded_rng(seed)
        )
        breaker.open()
        with pytest.raises(CircuitOpen) as caught:
            Policy(breaker).call(good)
        lengths.append(caught.value.retry_in.total_seconds())
    assert all(10 <= length <= 15 for length in lengths)
    assert max(lengths) - min(lengths) > 2


def test_every_key_has_a_breaker_of_its_own(timing: VirtualTiming) -> None:
    breakers = Breakers(timing=timing)
    breakers["a"].open()
    assert breakers["a"].state is OPEN
    assert breakers["b"].state is CLOSED
    assert breakers["a"] is breakers["a"]
    assert sorted(map(str, breakers)) == ["a", "b"]


def test_no_more_keys_are_kept_than_allowed(timing: VirtualTiming) -> None:
    breakers = Breakers(timing=timing, keys_max=3)
    for key in range(5):
        assert breakers[key].state is CLOSED
    assert list(breakers) == [2, 3, 4]
    assert len(breakers) == 3
