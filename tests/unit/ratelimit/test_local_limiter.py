"""The limiter of one process: exact under threads, small, the same with reasons and without."""

from __future__ import annotations

import asyncio
import pickle
import sys
import threading
import tracemalloc
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import aclosing
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.ratelimit.core.gcra import Gcra, LeakyBucket
from moreton.ratelimit.core.limit import Limit
from moreton.ratelimit.core.rings import AdaptiveConcurrency, Concurrency, SlidingLog
from moreton.ratelimit.core.windows import FixedWindow, SlidingCounter
from moreton.ratelimit.errors import QueueFull, RateLimited
from moreton.ratelimit.local import LocalLimiter
from moreton.resilience.core.limits import Gradient2
from support.manual_clock import ManualClock
from support.waits import join_all

pytestmark = pytest.mark.slow


@pytest.fixture
def _eager_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(work: object, count: int = 4) -> None:
    assert callable(work)
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    join_all(threads)


@pytest.mark.usefixtures("_eager_threads")
@pytest.mark.parametrize(
    "limits",
    [
        [Gcra("10000/h")],
        [Gcra("90000/h"), Gcra("10000/h"), Gcra("50000/h")],
        [FixedWindow("10000/d"), Gcra("20000/h")],
    ],
    ids=["one moment", "three moments", "rows"],
)
def test_threads_never_get_more_than_the_limit_and_all_of_it(limits: list[Limit]) -> None:
    # The clock stands still, so that nothing comes back meanwhile.
    limiter = LocalLimiter(*limits, clock=ManualClock())
    admitted: list[int] = []

    def ask() -> None:
        admitted.append(sum(limiter.allow("ada") for _ in range(4000)))

    in_threads(ask)
    assert sum(admitted) == 10_000


@pytest.mark.usefixtures("_eager_threads")
def test_what_has_reasons_and_what_has_none_count_together() -> None:
    limiter = LocalLimiter(Gcra("6000/h"), Gcra("9000/h"), clock=ManualClock())
    admitted: list[int] = []

    def ask() -> None:
        quick = sum(limiter.allow("ada") for _ in range(1000))
        slow = sum(bool(limiter.decide("ada")) for _ in range(500))
        back = [decision for _ in range(300) if (decision := limiter.decide("ada"))]
        for decision in back:
            limiter.give_back(decision)
        admitted.append(quick + slow)

    in_threads(ask)
    assert limiter.decide("ada", 0).left == 6000 - sum(admitted)
    # What all four hold to give it back may be lacking for the others.
    assert sum(admitted) >= 6000 - 4 * 300


def test_tasks_count_together() -> None:
    limiter = LocalLimiter(Gcra("100/h"), clock=ManualClock())

    async def ask() -> int:
        found = 0
        for _ in range(20):
            found += bool(await limiter.decide_async("ada"))
            await asyncio.sleep(0)
        return found

    async def ask_all() -> int:
        return sum(await asyncio.gather(*(ask() for _ in range(20))))

    assert asyncio.run(ask_all()) == 100


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.floats(0, 2)), max_size=60),
    st.integers(1, 3),
)
def test_the_gate_says_what_decide_says(steps: list[tuple[str, int, float]], count: int) -> None:
    clock = ManualClock()
    limits = [Gcra("3/s"), Gcra("10/min", burst=4), Gcra("5/s", burst=1)][:count]
    quick, slow = LocalLimiter(*limits, clock=clock), LocalLimiter(*limits, clock=clock)
    for key, cost, gap in steps:
        clock.advance(gap)
        assert quick.allow(key, cost) == slow.decide(key, cost).allowed
        assert quick.decide(key, 0).standings == slow.decide(key, 0).standings


@pytest.mark.parametrize("limit", [Gcra("1/s"), FixedWindow("1/s")], ids=["moments", "rows"])
def test_keys_need_less_than_250_bytes_each(limit: Limit) -> None:
    keys = [f"tenant-{number}" for number in range(5_000)]
    limiter = LocalLimiter(limit, clock=ManualClock())
    tracemalloc.start()
    for key in keys:
        limiter.allow(key)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert limiter.statistics().keys == 5_000
    assert used < 5_000 * 250


@pytest.mark.parametrize("kind", [Gcra, FixedWindow])
def test_keys_whose_quota_is_there_again_make_room(kind: type[Gcra | FixedWindow]) -> None:
    clock = ManualClock()
    limiter = LocalLimiter(kind("10/s"), clock=clock, keys_max=1000)
    for number in range(20_000):
        clock.advance(0.01)
        assert limiter.allow(f"visitor {number}")
    told = limiter.statistics()
    assert (told.keys, told.evicted) == (1000, 0)


def test_when_all_keys_owe_the_one_that_owes_least_goes() -> None:
    clock = ManualClock()
    limiter = LocalLimiter(Gcra("10/h"), clock=clock, keys_max=8)
    for number in range(8):
        limiter.decide(f"key {number}", 1 if number == 5 else 10)
    assert limiter.allow("another")
    told = limiter.statistics()
    assert (told.keys, told.evicted) == (8, 1)
    assert not any(limiter.allow(f"key {number}") for number in range(8) if number != 5)
    for number in range(100):
        limiter.allow(f"flood {number}")
    assert limiter.statistics().keys == 8


def test_each_limit_may_have_a_key_of_its_own() -> None:
    limiter = LocalLimiter(
        Gcra("2/s", name="address"), Gcra("3/s", name="all"), clock=ManualClock()
    )
    found = [limiter.decide([one, ""]) for one in ("a", "a", "a", "b", "b")]
    assert [one.refused_by for one in found] == [None, None, "address", None, "all"]
    with pytest.raises(ValueError, match="3 keys for 2 limits"):
        limiter.decide(["a", "b", "c"])


def test_what_was_not_done_is_given_back() -> None:
    limiter = LocalLimiter(Gcra("5/h"), FixedWindow("5/d"), clock=ManualClock())
    decision = limiter.decide("ada", 5)
    assert not limiter.allow("ada")
    limiter.give_back(decision, 2)
    assert limiter.decide("ada", 0).left == 2
    limiter.give_back(limiter.decide("ada", 3))  # it was refused: nothing to give back
    assert limiter.decide("ada", 0).left == 2
    with pytest.raises(ValueError, match="more than was charged"):
        limiter.give_back(decision, 6)


def test_a_cost_that_is_known_afterwards_is_owed() -> None:
    clock = ManualClock()
    limiter = LocalLimiter(Gcra("10/s"), clock=clock)
    assert limiter.allow("ada")
    limiter.charge("ada", 29)
    clock.advance(2)
    assert limiter.decide("ada").retry_in == timedelta(seconds=0.1)
    limiter.reset("ada")
    assert limiter.decide("ada", 10)


def test_turns_are_waited_for_in_order_and_those_too_late_told_at_once() -> None:
    clock = ManualClock()
    limiter = LocalLimiter(Gcra("2/s", burst=1), clock=clock)
    limiter.acquire("ada")
    assert limiter.acquire("ada", wait=timedelta(seconds=1)).delay == timedelta(seconds=0.5)
    assert clock.slept == [0.5]
    with pytest.raises(RateLimited, match=r"refused by 2/s: free in 0\.5 s") as told:
        limiter.acquire("ada")
    assert told.value.retry_in == timedelta(seconds=0.5)
    with pytest.raises(RateLimited, match="a cost of 2 is above it"):
        limiter.acquire("ada", 2, wait=timedelta(hours=1))
    assert clock.slept == [0.5]


@pytest.mark.parametrize("limit", [SlidingCounter("1/s"), SlidingLog("1/s"), FixedWindow("1/s")])
def test_a_limit_that_cannot_be_taken_ahead_is_asked_again_when_it_is_free(limit: Limit) -> None:
    clock = ManualClock()
    limiter = LocalLimiter(limit, clock=clock)
    for _ in range(3):
        asyncio.run(limiter.acquire_async("ada", wait=timedelta(seconds=3)))
    assert 1 <= sum(clock.slept) <= 4


def test_a_full_queue_says_so() -> None:
    clock = ManualClock()
    limiter = LocalLimiter(Gcra("1/s"), clock=clock, waiting_max=0)
    limiter.acquire("ada", wait=timedelta(seconds=5))
    with pytest.raises(QueueFull, match="as many calls as may wait"):
        limiter.acquire("ada", wait=timedelta(seconds=5))
    assert limiter.decide("ada").retry_in == timedelta(seconds=1)


def test_a_place_in_a_leaky_bucket_is_waited_for_without_asking() -> None:
    clock = ManualClock()
    limiter = LocalLimiter(LeakyBucket("4/s", queue=2), clock=clock)
    assert [limiter.decide("ada").delay_nanos for _ in range(3)] == [0, 250_000_000, 500_000_000]
    assert not limiter.decide("ada")


def test_a_decorated_function_passes_the_limit_first() -> None:
    limiter = LocalLimiter(Gcra("2/h"), Concurrency(1), clock=ManualClock())

    @limiter.limit(key=lambda name, **_: name, cost=lambda _, cost=1: cost)
    def greet(name: str, *, cost: int = 1) -> str:
        # One is at work already.
        assert limiter.decide(name, 0).left == 0, cost
        return f"hello {name}"

    assert greet("ada") == "hello ada"
    assert greet("ada") == "hello ada"
    with pytest.raises(RateLimited, match="2/h"):
        greet("ada")

    @limiter.limit("everyone")
    async def answer() -> int:
        return 42

    assert [asyncio.run(answer()) for _ in range(2)] == [42, 42]
    with pytest.raises(RateLimited):
        asyncio.run(answer())


def test_a_generator_holds_its_place_to_its_end() -> None:
    limiter = LocalLimiter(Concurrency(1))

    @limiter.limit()
    def items() -> Generator[int, int, str]:
        yield (yield limiter.decide("", 0).left)
        return "done"

    @limiter.limit()
    async def items_async() -> AsyncIterator[int]:
        yield limiter.decide("", 0).left
        yield limiter.decide("", 0).left

    first = items()
    assert (next(first), first.send(7)) == (0, 7)
    with pytest.raises(RateLimited):
        next(items())
    first.close()
    assert limiter.decide("", 0).left == 1

    async def take() -> list[int]:
        async with aclosing(items_async()) as some:  # type: ignore[type-var]
            async for one in some:
                return [one]
        return []

    assert asyncio.run(take()) == [0]
    assert limiter.decide("", 0).left == 1


def test_an_adaptive_limit_follows_the_time_of_the_work() -> None:
    clock = ManualClock()
    estimator = Gradient2(initial=8, lowest=2, highest=40)
    limiter = LocalLimiter(AdaptiveConcurrency(estimator), clock=clock)

    def rounds(count: int, seconds: float) -> None:
        for _ in range(count):
            begun = []
            while decision := limiter.decide("search"):
                begun.append(decision)
            assert len(begun) == estimator.limit
            assert limiter.decide("search").refused_by == "adaptive"
            clock.advance(seconds)
            for decision in begun:
                limiter.release(decision)

    rounds(50, 0.01)
    fast = estimator.limit
    assert fast > 8
    rounds(50, 0.2)
    assert estimator.limit < fast
    assert limiter.decide("search", 0).left == estimator.limit


@pytest.mark.parametrize(
    ("misuse", "kind", "text"),
    [
        (LocalLimiter, ValueError, "give at least one"),
        (lambda: LocalLimiter("100/s"), TypeError, "Gcra"),  # type: ignore[arg-type]
        (lambda: LocalLimiter(Gcra("1/s"), Gcra("1/s")), ValueError, "two limits are called '1/s'"),
        (lambda: LocalLimiter(Gcra("1/s"), keys_max=0), ValueError, "keys_max is 0"),
        (lambda: LocalLimiter(Gcra("1/s")).decide("a", -1), ValueError, "cost is -1"),
        (lambda: LocalLimiter(Gcra("1/s")).decide("a", 0.5), TypeError, "whole number"),  # type: ignore[arg-type]
        (lambda: LocalLimiter(Gcra("1/s")).allow(7), TypeError, "give a string"),  # type: ignore[arg-type]
        (lambda: LocalLimiter(Gcra("1/s")).acquire("a", wait=5), TypeError, "timedelta"),  # type: ignore[arg-type]
        (lambda: pickle.dumps(LocalLimiter(Gcra("1/s"))), TypeError, "belongs to its process"),
    ],
)
def test_misuse_is_told(misuse: object, kind: type[Exception], text: str) -> None:
    assert callable(misuse)
    with pytest.raises(kind, match=text):
        misuse()
