"""What type checkers see of policies: mypy and pyrefly read this file, pytest runs it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, assert_type

from moreton.resilience import (
    Backoff,
    BreakerPolicy,
    Breakers,
    CircuitBreaker,
    Fallback,
    Hedge,
    Jitter,
    Policy,
    Retry,
    RetryBudget,
    Timeout,
    TotalTimeout,
)
from moreton.resilience.core.breaker import BreakerState, BreakerStatistics
from moreton.resilience.core.budget import BudgetStatistics
from moreton.resilience.layers.attempts import Attempt, Attempts
from moreton.resilience.policy import Explanation
from moreton.resilience.timing import Timing
from moreton.testing import VirtualTiming

timing: Timing = VirtualTiming()
policy = Policy(Retry(attempts=2, idempotent=True, timing=timing), CircuitBreaker(timing=timing))


@policy
def plain(article: str, *, count: int = 1) -> list[str]:
    return [article] * count


@policy
async def coroutine(article: str, *, count: int = 1) -> list[str]:
    return [article] * count


@policy
def generator(count: int) -> Generator[int, str, bool]:
    answer = ""
    while len(answer) < count:
        answer += (yield len(answer)) or "."
    return True


@policy
async def async_generator(count: int) -> AsyncGenerator[int, str]:
    for number in range(count):
        yield number


@policy
async def async_iterator(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


class Shop:
    @policy
    def price(self, article: str) -> float:
        return float(len(article))

    @policy
    async def stock(self, article: str) -> int:
        return len(article)

    @staticmethod
    @policy
    def currency(code: str) -> str:
        return code


def test_a_decorated_function_keeps_its_parameters_and_its_result() -> None:
    assert_type(plain("fig", count=2), list[str])
    assert plain("fig", count=2) == ["fig", "fig"]


async def test_a_decorated_coroutine_function_keeps_its_parameters_and_its_result() -> None:
    assert_type(coroutine("fig", count=1), Coroutine[Any, Any, list[str]]).close()
    assert_type(await coroutine("fig", count=2), list[str])


def test_a_decorated_generator_keeps_what_it_yields_takes_and_returns() -> None:
    assert_type(generator(3), Generator[int, str, bool])
    assert list(generator(3)) == [0, 1, 2]


async def test_a_decorated_asynchronous_generator_keeps_what_it_yields() -> None:
    assert_type(async_generator(2), AsyncGenerator[int, str])
    assert_type(async_iterator(2), AsyncIterator[int])
    numbers = [number async for number in async_generator(2)]
    assert_type(numbers, list[int])
    assert numbers == [number async for number in async_iterator(2)]


async def test_decorated_methods_are_bound() -> None:
    shop = Shop()
    assert_type(shop.price("fig"), float)
    assert_type(await shop.stock("fig"), int)
    assert_type(shop.currency("EUR"), str)
    bound: Callable[[str], float] = shop.price
    assert bound("fig") == 3.0


async def test_a_caller_has_the_result_of_what_it_calls() -> None:
    def double(number: int, *, negative: bool = False) -> int:
        return number * (-2 if negative else 2)

    async def double_soon(number: int) -> int:
        return number * 2

    assert_type(policy.call(double, 3), int)
    assert_type(policy.call(double, 3, negative=True), int)
    assert_type(await policy.call(double_soon, 3), int)
    assert policy.call(double, 3, negative=True) == -6


async def test_attempts_are_contexts() -> None:
    attempts = policy.attempts()
    assert_type(attempts, Attempts)
    rounds = 0
    for attempt in attempts:
        assert_type(attempt, Attempt)
        with attempt as entered:
            assert_type(entered, Attempt)
            assert_type(entered.number, int)
            assert_type(entered.next_delay, float)
            rounds += 1
    async for attempt in policy.attempts():
        async with attempt as entered:
            assert_type(entered, Attempt)
            rounds += 1
    assert rounds == 2


def test_a_layer_alone_decorates_too() -> None:
    @Timeout(timedelta(seconds=1), timing=timing)
    def length(text: str) -> int:
        return len(text)

    assert_type(length("fig"), int)
    assert length("fig") == 3


def test_states_and_explanations_have_types() -> None:
    breaker = CircuitBreaker(BreakerPolicy(window=10, minimum_calls=5))
    assert_type(breaker.state, BreakerState)
    assert_type(breaker.statistics(), BreakerStatistics)
    assert_type(Breakers()["host"], CircuitBreaker)
    assert_type(RetryBudget().statistics(), BudgetStatistics)
    assert_type(policy.explain(), Explanation)
    assert_type(policy.statistics(), dict[str, object])
    assert_type(Backoff.exponential(jitter=Jitter.EQUAL), Backoff)
    assert Policy(TotalTimeout(timedelta(seconds=1))).layers


if TYPE_CHECKING:
    plain(7)  # type: ignore[arg-type]
    plain("fig", number=2)  # type: ignore[call-arg]
    Shop().price()  # type: ignore[call-arg]
    policy.call(plain, 7)  # type: ignore[arg-type]
    policy.call(7)  # type: ignore[arg-type]
    Retry(3)  # type: ignore[call-arg]
    Retry(attempts="3")  # type: ignore[arg-type]
    Retry(budget=0.2)  # type: ignore[arg-type]
    Timeout(2)  # type: ignore[arg-type]
    Hedge(timedelta(seconds=1))  # type: ignore[call-arg]  # is it idempotent
    Fallback()  # type: ignore[call-arg]
    BreakerPolicy(0.5)  # type: ignore[call-arg]
