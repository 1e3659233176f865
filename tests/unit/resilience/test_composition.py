"""What cannot be meant is refused when it is built, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from math import inf, nan
from typing import Any

import pytest

from moreton.resilience import (
    AdaptiveLimit,
    Backoff,
    BreakerPolicy,
    Breakers,
    Bulkhead,
    CircuitBreaker,
    ClientThrottle,
    Fallback,
    Hedge,
    Jitter,
    Policy,
    Retry,
    RetryBudget,
    Timeout,
    TotalTimeout,
)
from moreton.resilience.context import criticality, deadline
from moreton.resilience.core.limits import Gradient2, Vegas
from moreton.resilience.layers.layer import Layer

SECOND = timedelta(seconds=1)
ZERO = timedelta(0)


def hedge(after: timedelta = SECOND) -> Hedge:
    return Hedge(after, idempotent=True)


BREAKER = CircuitBreaker()
ORDERS: list[tuple[Callable[[], tuple[Layer, ...]], str]] = [
    (lambda: (), "does nothing"),
    (lambda: (Retry(), Retry()), "would multiply"),
    (lambda: (TotalTimeout(SECOND), TotalTimeout(2 * SECOND)), "only the shorter one"),
    (lambda: (Fallback(1), Fallback(2)), "leaves nothing"),
    (lambda: (BREAKER, BREAKER), "the same layer is there twice"),
    (lambda: (Retry(), TotalTimeout(SECOND)), "TotalTimeout is inside Retry"),
    (lambda: (Timeout(SECOND), Retry()), "Timeout is outside Retry"),
    (lambda: (Retry(), Fallback(1)), "Fallback is inside Retry"),
    (lambda: (Bulkhead(1), Retry(budget=None)), "would hold all slots"),
    (lambda: (hedge(), Retry()), "Retry is inside Hedge"),
    (lambda: (TotalTimeout(SECOND), Retry(), Timeout(SECOND)), "never takes effect within"),
    (lambda: (hedge(2 * SECOND), Timeout(SECOND)), "Hedge after 2s never takes effect"),
    (lambda: (TotalTimeout(SECOND), hedge(SECOND)), "Hedge after 1s never takes effect"),
]


@pytest.mark.parametrize(("layers", "why"), ORDERS, ids=[why for _, why in ORDERS])
def test_an_order_that_cannot_be_meant_is_refused_with_the_reason(
    layers: Callable[[], tuple[Layer, ...]], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        Policy(*layers())


def test_an_order_is_refused_across_policies_too() -> None:
    with pytest.raises(ValueError, match="would multiply"):
        Policy(Policy(Retry()), Policy(CircuitBreaker(), Retry()))


def test_what_is_no_layer_is_refused() -> None:
    for wrong in (SECOND, Retry, [Retry()], Breakers(), None):
        with pytest.raises(TypeError, match="a layer is"):
            Policy(wrong)  # type: ignore[arg-type]


def test_the_recommended_order_is_taken_as_is_every_part_of_it() -> None:
    layers: list[Layer] = [
        Fallback(None),
        TotalTimeout(10 * SECOND),
        ClientThrottle(),
        Retry(),
        CircuitBreaker(),
        AdaptiveLimit(),
        Bulkhead(5),
        hedge(),
        Timeout(2 * SECOND),
    ]
    assert Policy(*layers).layers == tuple(layers)
    for left_out in range(len(layers)):
        Policy(*layers[:left_out], *layers[left_out + 1 :])
    Policy(Bulkhead(5), Retry())  # with a budget


BAD_VALUES: list[tuple[Callable[[], Any], str]] = [
    (lambda: Retry(attempts=1), "attempts is 1"),
    (lambda: Retry(attempts=0), "attempts is 0"),
    (lambda: Retry(attempts=5000), "attempts is 5000"),
    (lambda: Retry(retry_after_max=-SECOND), "retry_after_max"),
    (lambda: RetryBudget(-0.1), "share is -0.1"),
    (lambda: RetryBudget(nan), "share is nan"),
    (lambda: RetryBudget(20), "share is 20"),
    (lambda: RetryBudget(per_second=-1), "per_second is -1"),
    (lambda: RetryBudget(per_second=nan), "per_second is nan"),
    (lambda: RetryBudget(per_second=inf), "per_second is inf"),
    (lambda: RetryBudget(0, per_second=0), "allows no retry at all"),
    (lambda: Timeout(ZERO), "limit is 0 s"),
    (lambda: Timeout(-SECOND), "limit is -1 s"),
    (lambda: TotalTimeout(ZERO), "limit is 0 s"),
    (lambda: Bulkhead(0), "limit is 0"),
    (lambda: Bulkhead(-1), "limit is -1"),
    (lambda: Bulkhead(1, queue=-1), "queue is -1"),
    (lambda: Bulkhead(1, queue_timeout=ZERO), "queue_timeout is 0 s"),
    (lambda: Hedge(ZERO, idempotent=True), "after is 0 s"),
    (lambda: Hedge(SECOND, idempotent=True, hedges=0), "hedges is 0"),
    (lambda: Hedge(SECOND, idempotent=True, hedges=6), "hedges is 6"),
    (lambda: Hedge(SECOND, idempotent=False), "is made twice"),
    (lambda: BreakerPolicy(failure_rate=0), "failure_rate is 0"),
    (lambda: BreakerPolicy(failure_rate=1.5), "failure_rate is 1.5"),
    (lambda: BreakerPolicy(failure_rate=nan), "failure_rate is nan"),
    (lambda: BreakerPolicy(slow_call_rate=-1), "slow_call_rate is -1"),
    (lambda: BreakerPolicy(minimum_calls=0), "minimum_calls is 0"),
    (lambda: BreakerPolicy(permits=0), "permits is 0"),
    (lambda: BreakerPolicy(successes=0), "successes is 0"),
    (lambda: BreakerPolicy(jitter=-0.1), "jitter is -0.1"),
    (lambda: BreakerPolicy(jitter=1.1), "jitter is 1.1"),
    (lambda: BreakerPolicy(open_for=ZERO), "open_for"),
    (lambda: BreakerPolicy(slow_call=ZERO), "slow_call"),
    (lambda: BreakerPolicy(window=ZERO), "no call would be in it"),
    (lambda: BreakerPolicy(window=5, minimum_calls=6), "could never open"),
    (lambda: Breakers(keys_max=0), "keys_max is 0"),
    (lambda: ClientThrottle(0.5), "k is 0.5"),
    (lambda: ClientThrottle(nan), "k is nan"),
    (lambda: ClientThrottle(window=ZERO), "window is 0 s"),
    (lambda: Gradient2(0, 0, 5), "lowest is 0"),
    (lambda: Gradient2(5, 6, 10), "out of order"),
    (lambda: Vegas(11, 6, 10), "out of order"),
    (lambda: Gradient2(tolerance=0.9), "tolerance is 0.9"),
    (lambda: Gradient2(smoothing=0), "smoothing is 0"),
    (lambda: Gradient2(queue=0), "queue is 0"),
    (lambda: Backoff(initial=ZERO), "initial is 0 s"),
]


@pytest.mark.parametrize(("make", "why"), BAD_VALUES, ids=[why for _, why in BAD_VALUES])
def test_a_value_that_cannot_be_meant_is_refused_with_the_reason(
    make: Callable[[], Any], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        make()


A: Any = None  # so that the type checker lets mistakes through
WRONG_KINDS: list[tuple[Callable[[Any], Any], tuple[Any, ...], str]] = [
    (Timeout, (2, 0.5, "2s", A, True), "limit is"),
    (TotalTimeout, (2,), "limit is"),
    (lambda x: deadline(x).__enter__(), (2,), "limit is"),
    (lambda x: Retry(attempts=x), ("3", 2.5, A, True), "attempts is"),
    (lambda x: Retry(backoff=x), (2, SECOND, Jitter.FULL), "backoff is"),
    (lambda x: Retry(budget=x), (0, 0.2, int), "budget is"),
    (lambda x: Retry(retry_after_max=x), (60,), "retry_after_max is"),
    (RetryBudget, ("20%", A, True), "share is"),
    (lambda x: RetryBudget(per_second=x), ("3/s",), "per_second is"),
    (lambda x: Backoff(initial=x), (1,), "initial is"),
    (lambda x: Backoff(cap=x), (5,), "cap is"),
    (lambda x: Backoff(multiplier=x), ("2",), "multiplier is"),
    (lambda x: Backoff(jitter=x), ("full", 0.5, True), "jitter is "),
    (lambda x: Backoff(growth=x), ("linear",), "growth is "),
    (lambda x: Backoff.linear(SECOND, x), (1,), "step is"),
    (lambda x: BreakerPolicy(window=x), ("10s", 30.5), "window is"),
    (lambda x: BreakerPolicy(open_for=x), (5,), "open_for is"),
    (lambda x: BreakerPolicy(slow_call=x), (5,), "slow_call is"),
    (lambda x: BreakerPolicy(minimum_calls=x), (2.5,), "minimum_calls is"),
    (lambda x: BreakerPolicy(failure_rate=x), ("50%",), "failure_rate is"),
    (CircuitBreaker, (0.5, BreakerPolicy), "policy is"),
    (Breakers, ("hosts",), "policy is"),
    (lambda x: Breakers(keys_max=x), ("3",), "keys_max is"),
    (Bulkhead, ("3", 2.5), "limit is"),
    (lambda x: Bulkhead(1, queue=x), (A,), "queue is"),
    (lambda x: Bulkhead(1, queue_timeout=x), (5,), "queue_timeout is"),
    (lambda x: Hedge(x, idempotent=True), (1,), "after is"),
    (lambda x: Hedge(SECOND, idempotent=True, hedges=x), (1.5,), "hedges is"),
    (lambda x: Hedge(SECOND, idempotent=True, budget=x), (0.1,), "budget is"),
    (AdaptiveLimit, (20, Gradient2), "limit is"),
    (Gradient2, ("20", 20.5), "initial is"),
    (ClientThrottle, ("2",), "k is"),
    (lambda x: ClientThrottle(window=x), (60,), "window is"),
    (lambda x: criticality(x).__enter__(), ("sheddable",), "level is "),
]


@pytest.mark.parametrize(
    ("make", "values", "why"), WRONG_KINDS, ids=[why for _, _, why in WRONG_KINDS]
)
def test_a_value_of_another_kind_is_refused_with_what_to_give(
    make: Callable[[Any], Any], values: tuple[Any, ...], why: str
) -> None:
    for value in values:
        with pytest.raises(TypeError, match=f"{why}.*give"):
            make(value)


def test_a_number_in_place_of_a_duration_is_told_what_it_would_be() -> None:
    with pytest.raises(TypeError, match=r"give a timedelta, as timedelta\(seconds=0.5\)"):
        Timeout(0.5)  # type: ignore[arg-type]


CHOICES: list[tuple[Callable[[Any], Any], str]] = [
    (lambda kinds: Retry(on=kinds), "on"),
    (lambda kinds: Fallback(1, on=kinds), "on"),
    (lambda kinds: CircuitBreaker(failed=kinds), "failed"),
    (lambda kinds: Breakers(failed=kinds), "failed"),
    (lambda kinds: AdaptiveLimit(dropped=kinds), "dropped"),
    (lambda kinds: ClientThrottle(refused=kinds), "refused"),
]
NO_KINDS = [BaseException, KeyboardInterrupt, (), (OSError, SystemExit), (3,), [OSError], "no", 3]


@pytest.mark.parametrize(("make", "name"), CHOICES)
@pytest.mark.parametrize("kinds", NO_KINDS, ids=str)
def test_what_ends_programs_or_is_no_kind_of_error_is_refused(
    make: Callable[[Any], Any], name: str, kinds: Any
) -> None:
    with pytest.raises(TypeError, match=f"^{name} is"):
        make(kinds)


def plain() -> int:
    return 1


async def coroutine() -> int:
    return 1


async def answer(_: Exception) -> int:
    return 2


def test_layers_for_coroutines_refuse_plain_functions_with_the_reason() -> None:
    for layer in (hedge(), Policy(Retry(), hedge())):
        with pytest.raises(TypeError, match="plain is no coroutine function"):
            layer(plain)
    with pytest.raises(TypeError, match="is a coroutine function and"):
        Fallback(answer)(plain)
    with pytest.raises(TypeError, match="plain is no coroutine function"):
        Policy(hedge()).call(plain)


async def test_layers_for_both_kinds_take_both_by_the_same_names() -> None:
    policy = Policy(TotalTimeout(SECOND), Retry(), CircuitBreaker(), Bulkhead(1), AdaptiveLimit())
    assert policy(plain)() == policy.call(plain) == 1
    assert await policy(coroutine)() == await policy.call(coroutine) == 1


async def test_a_callable_object_is_called_as_what_it_is() -> None:
    class Sync:
        def __call__(self) -> int:
            return 1

    class Async:
        failures = 1

        async def __call__(self) -> int:
            if self.failures:
                self.failures -= 1
                raise ConnectionRefusedError
            return 1

    policy = Policy(Retry(backoff=Backoff.constant(timedelta(microseconds=1))))
    assert policy.call(Sync()) == policy(Sync().__call__)() == 1
    assert await policy.call(Async()) == 1


@pytest.mark.filterwarnings("ignore:coroutine 'coroutine' was never awaited")
def test_what_cannot_be_called_is_refused() -> None:
    policy = Policy(Retry())
    for wrong in (3, None, classmethod(lambda _: 1), property(lambda _: 1)):
        with pytest.raises(TypeError, match="cannot be called: give a function"):
            policy(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"policy.call\(f, x\) and not"):
        policy.call(coroutine())  # type: ignore[arg-type]


def test_a_plain_function_that_returns_a_coroutine_is_refused_and_starts_nothing() -> None:
    begun: list[int] = []

    async def work() -> None:
        begun.append(1)

    def forgetful() -> Any:
        return work()

    with pytest.raises(TypeError, match="whose failures this policy would not see"):
        Policy(Retry()).call(forgetful)
    assert not begun


def test_a_generator_function_is_to_be_decorated() -> None:
    def items() -> Any:
        yield 1

    with pytest.raises(TypeError, match="is a generator function"):
        Policy(Retry()).call(items)
