"""Deadlines, retries and breakers hold through gRPC's interceptors, against real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import grpc
import pytest

from moreton.resilience import Backoff, Bulkhead, CircuitBreaker, Policy, Retry, Timeout
from moreton.resilience.clients.grpc import (
    AIO_STREAM_INTERCEPTORS,
    PUSHBACK,
    AioResilientInterceptor,
    ResilientInterceptor,
)
from moreton.resilience.context import deadline
from moreton.resilience.errors import DeadlineExceeded, Refused
from support.grpc_stock import HANG, SERVICE, Stock, on_asyncio, on_threads
from support.ports import free_port

pytestmark = pytest.mark.e2e
METHOD, LIST = f"/{SERVICE}/Ask", f"/{SERVICE}/List"
BUSY, WRONG = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INVALID_ARGUMENT
SOON = Backoff.constant(timedelta(milliseconds=1))


@pytest.fixture(params=[on_threads, on_asyncio], ids=["threads", "asyncio"])
def stock(request: pytest.FixtureRequest) -> Iterator[tuple[Stock, str]]:
    made = Stock()
    with request.param(made) as target:
        yield made, target


def _sync(target: str, policy: Policy, *, idempotent: bool, timeout: float | None = 10) -> bytes:
    with grpc.insecure_channel(target) as channel:
        made = grpc.intercept_channel(channel, ResilientInterceptor(policy, idempotent=idempotent))
        return bytes(made.unary_unary(METHOD)(b"umbrella", timeout=timeout))


def _aio(target: str, policy: Policy, *, idempotent: bool, timeout: float | None = 10) -> bytes:
    async def ask() -> bytes:
        interceptor = AioResilientInterceptor(policy, idempotent=idempotent)
        async with grpc.aio.insecure_channel(target, interceptors=[interceptor]) as channel:
            return bytes(await channel.unary_unary(METHOD)(b"umbrella", timeout=timeout))

    return asyncio.run(ask())


@pytest.fixture(params=[_sync, _aio], ids=["sync", "aio"])
def ask(request: pytest.FixtureRequest) -> Callable[..., bytes]:
    found: Callable[..., bytes] = request.param
    return found


def retrying(*inner: Any) -> Policy:
    return Policy(Retry(attempts=3, backoff=SOON), *inner)


def test_idempotent_call_is_tried_again(ask: Any, stock: tuple[Stock, str]) -> None:
    served, target = stock
    served.plan.extend([BUSY, BUSY])
    assert ask(target, retrying(), idempotent=True) == b"umbrella"
    assert served.attempts == ["1", "2", "3"]


def test_call_is_made_once_unless_it_is_idempotent(ask: Any, stock: tuple[Stock, str]) -> None:
    served, target = stock
    served.plan.append(BUSY)
    with pytest.raises(grpc.RpcError) as caught:
        ask(target, retrying(), idempotent=False)
    assert caught.value.code() is BUSY
    assert len(served.attempts) == 1


def test_answer_of_the_application_is_not_tried_again(ask: Any, stock: tuple[Stock, str]) -> None:
    served, target = stock
    served.plan.append(WRONG)
    with pytest.raises(grpc.RpcError) as caught:
        ask(target, retrying(), idempotent=True)
    assert caught.value.code() is WRONG
    assert len(served.attempts) == 1


def test_server_forbids_retries_by_pushback(ask: Any, stock: tuple[Stock, str]) -> None:
    served, target = stock
    served.plan.append(BUSY)
    served.trailers = ((PUSHBACK, "-1"),)
    with pytest.raises(grpc.RpcError):
        ask(target, retrying(), idempotent=True)
    assert len(served.attempts) == 1


def test_attempt_ends_in_its_time_and_is_tried_again(ask: Any, stock: tuple[Stock, str]) -> None:
    served, target = stock
    served.plan.append(HANG)
    breaker = CircuitBreaker()
    policy = retrying(breaker, Timeout(timedelta(milliseconds=300)))
    assert ask(target, policy, idempotent=True) == b"umbrella"
    assert served.attempts == ["1", "2"]
    assert breaker.statistics().failed == 1


def test_time_limit_is_an_error_of_grpc(ask: Any, stock: tuple[Stock, str]) -> None:
    served, target = stock
    served.plan.append(HANG)
    with pytest.raises(DeadlineExceeded) as caught:
        ask(target, Policy(Timeout(timedelta(milliseconds=300))), idempotent=False)
    assert isinstance(caught.value, grpc.RpcError)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(served.attempts) == 1


def test_nothing_is_sent_after_the_deadline(ask: Any, stock: tuple[Stock, str]) -> None:
    served, target = stock
    with deadline(timedelta(0)), pytest.raises(DeadlineExceeded):
        ask(target, Policy(CircuitBreaker()), idempotent=True)
    assert not served.attempts


def test_refusal_is_an_error_of_grpc(ask: Any) -> None:
    breaker, bulkhead = CircuitBreaker(name="stock"), Bulkhead(1, name="stock")
    breaker.open()
    bulkhead.enter()
    for gate in (breaker, bulkhead):
        _refuses(ask, gate)


def _refuses(ask: Any, gate: CircuitBreaker | Bulkhead) -> None:
    with pytest.raises(Refused, match='"stock"') as caught:
        ask(f"127.0.0.1:{free_port()}", Policy(gate), idempotent=True)
    assert isinstance(caught.value, grpc.RpcError)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert caught.value.details() == str(caught.value)


def test_deadline_goes_out_with_the_call(ask: Any, stock: tuple[Stock, str]) -> None:
    served, target = stock
    ask(target, retrying(Timeout(timedelta(seconds=5))), idempotent=True, timeout=None)
    left = served.left[0]
    assert left is not None
    # gRPC rounds deadlines up, to fractions of a second.
    assert timedelta(0) < left < timedelta(seconds=6)


def test_breaker_counts_failed_calls(ask: Any, stock: tuple[Stock, str]) -> None:
    served, target = stock
    served.plan.append(BUSY)
    breaker = CircuitBreaker()
    with pytest.raises(grpc.RpcError):
        ask(target, Policy(breaker), idempotent=True)
    assert breaker.statistics().failed == 1


def test_server_whose_calls_were_retried_in_vain_says_so(
    ask: Any, stock: tuple[Stock, str]
) -> None:
    served, target = stock
    served.plan.append(BUSY)
    served.exhausted = True
    with pytest.raises(grpc.RpcError):
        ask(target, retrying(), idempotent=True)
    assert len(served.attempts) == 1


def test_trailers_of_the_application_are_kept(ask: Any, stock: tuple[Stock, str]) -> None:
    served, target = stock
    served.plan.append(BUSY)
    served.exhausted = True
    served.trailers = (("shelf", "7"),)
    with pytest.raises(grpc.RpcError) as caught:
        ask(target, retrying(), idempotent=True)
    trailers = dict(caught.value.trailing_metadata() or ())
    assert (trailers["shelf"], trailers["x-moreton-retry"]) == ("7", "never")


def test_stream_carries_the_deadline_and_is_not_repeated(stock: tuple[Stock, str]) -> None:
    served, target = stock
    served.plan.append(BUSY)
    interceptor = ResilientInterceptor(retrying(), idempotent=True)
    with grpc.insecure_channel(target) as channel, deadline(timedelta(seconds=5)):
        items = grpc.intercept_channel(channel, interceptor).unary_stream(LIST)(b"fig")
        assert next(items) == b"fig"
        with pytest.raises(grpc.RpcError) as caught:
            next(items)
    assert caught.value.code() is BUSY
    _stream_was_told_its_time(served)


async def test_stream_of_asyncio_carries_the_deadline(stock: tuple[Stock, str]) -> None:
    served, target = stock
    channel = grpc.aio.insecure_channel(target, interceptors=AIO_STREAM_INTERCEPTORS)
    async with channel:
        with deadline(timedelta(seconds=5)):
            items = channel.unary_stream(LIST)(b"fig")
            assert [item async for item in items] == [b"fig"]
    _stream_was_told_its_time(served)


def _stream_was_told_its_time(served: Stock) -> None:
    assert served.attempts == ["1"]
    assert len(served.left) == 2  # before its first message, and after it
    for left in served.left:
        assert left is not None
        assert timedelta(0) < left < timedelta(seconds=6)
