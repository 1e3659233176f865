"""What of a named policy Envoy does for a route or a service, and what it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from moreton.gateway.core.model import Ejection, Retries, Route, Service
from moreton.kernel.quantities import format_duration
from moreton.resilience.config import BackoffModel, BreakerModel, PolicyModel, RetryModel
from moreton.resilience.core.retrying import IDEMPOTENT_METHODS

# Nothing of the request has reached the application in any of these.
_UNSENT = ("connect-failure", "refused-stream", "reset-before-request")
# In place of a window of calls, which Envoy does not know.
_INTERVAL = timedelta(seconds=10)
_FAILURES = ("reset", "429", "502", "503", "504")


def route_with(route: Route, policy: PolicyModel) -> Route:
    """*route* with the retries and the timeouts of *policy*, except those that it has itself."""
    if route.redirect is not None:
        return route
    retries = route.retries
    if retries is None and policy.retry is not None:
        retries = _retries(route, policy, policy.retry)
    timeout = route.timeout
    if timeout is None:
        timeout = policy.total_timeout or (None if policy.retry else policy.timeout)
    return replace(route, retries=retries, timeout=timeout)


def service_with(service: Service, policy: PolicyModel) -> Service:
    """*service* with the limits of *policy*."""
    if policy.bulkhead is not None:
        service = replace(service, max_requests=policy.bulkhead.limit)
    if policy.retry is not None:
        service = replace(service, retry_share=policy.retry.budget.share)
    if policy.breaker is not None:
        service = replace(service, ejection=_ejection(policy.breaker))
    return service


def _ejection(breaker: BreakerModel) -> Ejection:
    window = breaker.window
    return Ejection(
        failure_rate=breaker.failure_rate,
        minimum_requests=breaker.minimum_calls,
        interval=window if isinstance(window, timedelta) else _INTERVAL,
        rest=breaker.open_for,
        jitter=breaker.open_for * breaker.jitter,
    )


def _retries(route: Route, policy: PolicyModel, retry: RetryModel) -> Retries:
    backoff = retry.backoff.as_value()
    return Retries(
        retry.attempts - 1,
        (*_UNSENT, *_FAILURES) if _repeatable(route, policy) else _UNSENT,
        policy.timeout,
        backoff_base=backoff.initial,
        backoff_max=backoff.cap,
        retry_after_max=retry.retry_after_max or None,
    )


def _repeatable(route: Route, policy: PolicyModel) -> bool:
    methods = route.match.methods
    return policy.idempotent or (bool(methods) and methods <= IDEMPOTENT_METHODS)


def inexpressible(policy: PolicyModel) -> tuple[str, ...]:
    """What a service does under *policy* and Envoy cannot, each with what Envoy does instead."""
    return tuple(_inexpressible(policy))


def _inexpressible(policy: PolicyModel) -> Iterator[str]:
    if policy.retry is not None:
        yield from _of_retries(policy, policy.retry)
    if policy.breaker is not None:
        yield from _of_breaker(policy.breaker)
    if policy.bulkhead is not None and policy.bulkhead.queue:
        yield "bulkhead.queue: Envoy refuses at once what is above the limit"
    if policy.adaptive is not None:
        yield "adaptive: Envoy keeps the service's max_requests"
    if policy.throttle is not None:
        yield "throttle: Envoy sends on what it gets"
    if policy.hedge is not None:
        yield "hedge: Envoy waits for the first attempt"


def _of_breaker(breaker: BreakerModel) -> Iterator[str]:
    yield (
        "breaker: Envoy rests single instances, never more than half of a service, and sends "
        "everything at once to one that returns; a 500 counts as a failure"
    )
    if isinstance(breaker.window, int):
        every = format_duration(_INTERVAL)
        yield f"breaker.window {breaker.window}: Envoy counts anew every {every}"
    if breaker.slow_call is not None:
        yield "breaker.slow_call: Envoy looks at failures only"


def _of_retries(policy: PolicyModel, retry: RetryModel) -> Iterator[str]:
    yield from _of_backoff(retry.backoff)
    if not policy.idempotent:
        yield (
            "retry: where a route takes methods that are not idempotent, Envoy tries again only "
            "what was not sent, whatever the method or Idempotency-Key of a request"
        )
    if retry.budget.per_second != 3.0:
        yield "retry.budget.per_second: Envoy allows 3 retries at a time at least"
    if retry.retry_after_max:
        yield (
            "retry.retry_after_max: Envoy reads seconds and no dates, takes what is longer for "
            "nothing said, and waits even where the time limit will come first"
        )
    if policy.total_timeout is None:
        yield "retry: without a total_timeout nothing limits all attempts together"


def _of_backoff(model: BackoffModel) -> Iterator[str]:
    backoff = model.as_value()
    base = format_duration(backoff.initial)
    instead = f"Envoy waits at random between 0 and {base}, twice as long each time"
    if model.preset is not None or model.kind != "exponential":
        yield f"retry.backoff: {instead}"
        return
    if backoff.multiplier != 2:
        yield f"retry.backoff.multiplier {backoff.multiplier:g}: {instead}"
    if model.jitter != "full":
        yield f"retry.backoff.jitter {model.jitter}: {instead}"
    if backoff.initial < timedelta(milliseconds=1):
        yield "retry.backoff.initial: Envoy counts whole milliseconds"
