"""Deadlines and retries hold through gRPC's interceptors, against a real server."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import grpc
import pytest

from moreton.resilience import Backoff, CircuitBreaker, Policy, Retry, Timeout
from moreton.resilience.clients.grpc import (
    PUSHBACK,
    AioResilientInterceptor,
    ResilientInterceptor,
)
from moreton.resilience.context import inbound_var, remaining
from moreton.resilience.servers.grpc import ResilienceInterceptor

pytestmark = pytest.mark.e2e
METHOD = "/shop.Stock/Ask"
BUSY, WRONG = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INVALID_ARGUMENT
SOON = Backoff.constant(timedelta(milliseconds=1))


class Stock:
    """Fails as it is told; remembers the attempt and the time left of each call."""

    def __init__(self) -> None:
        self.plan: deque[Any] = deque()
        self.attempts: list[str] = []
        self.left: list[timedelta | None] = []
        self.trailers: tuple[tuple[str, str], ...] = ()
        self.exhausted = False

    def ask(self, request: bytes, context: Any) -> bytes:
        fields = dict(context.invocation_metadata())
        self.attempts.append(fields.get("x-moreton-attempt", ""))
        self.left.append(remaining())
        found = inbound_var.get()
        assert found is not None
        found.exhausted = self.exhausted
        if self.plan:
            context.set_trailing_metadata(self.trailers)
            context.abort(self.plan.popleft(), "as planned")
        return request


@pytest.fixture
def stock() -> Iterator[tuple[Stock, str]]:
    made = Stock()
    with ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads, interceptors=[ResilienceInterceptor()])
        handlers = {"Ask": grpc.unary_unary_rpc_method_handler(made.ask)}
        handler = grpc.method_handlers_generic_handler("shop.Stock", handlers)
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield made, f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


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
