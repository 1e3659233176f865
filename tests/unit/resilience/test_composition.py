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
    Policy,
    Retry,
    RetryBudget,
    Timeout,
    TotalTimeout,
)
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
    with pytest.raises(TypeError, match="is no layer"):
        Policy(SECOND)  # type: ignore[arg-type]


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
    (lambda: RetryBudget(per_second=-1), "per_second -1"),
    (lambda: RetryBudget(per_second=nan), "per_second nan"),
    (lambda: RetryBudget(per_second=inf), "per_second inf"),
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
    (lambda: Gradient2(0, 0, 5), "out of order"),
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


@pytest.mark.parametrize("on", [BaseException, KeyboardInterrupt, (), (OSError, SystemExit), "no"])
def test_retries_on_what_ends_programs_or_is_no_kind_of_error_are_refused(on: Any) -> None:
    with pytest.raises(TypeError, match="on is"):
        Retry(on=on)


@pytest.mark.parametrize("on", ["no", 3])
def test_a_fallback_on_what_is_no_kind_of_error_is_refused(on: Any) -> None:
    with pytest.raises(TypeError, match="on is"):
        Fallback(1, on=on)


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
    with pytest.raises(TypeError, match="no coroutine function"):
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


def test_a_generator_function_is_to_be_decorated() -> None:
    def items() -> Any:
        yield 1

    with pytest.raises(TypeError, match="is a generator function"):
        Policy(Retry()).call(items)
