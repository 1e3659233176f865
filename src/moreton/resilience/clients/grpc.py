"""Interceptors for gRPC clients, sync and asyncio.

channel = grpc.intercept_channel(channel, ResilientInterceptor(policy))
channel = grpc.aio.insecure_channel(target, interceptors=[AioResilientInterceptor(policy)])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, NamedTuple

import grpc

from moreton.kernel.arguments import check_kind
from moreton.kernel.errors import MoretonError, RetryAdvice
from moreton.resilience.clients.exchange import repeatable, seconds_left
from moreton.resilience.context import attempt_var, criticality_var
from moreton.resilience.core import headers as fields
from moreton.resilience.policy import Policy

# Trouble of the connection and overload. Others are answers of the application.
FAILURES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})
# Source: gRPC proposal A6: milliseconds to wait; a negative number forbids retries.
PUSHBACK = "grpc-retry-pushback-ms"


class CallFailed(MoretonError):
    """A call ended with a status that counts as a failure; the client hands it on if it is last."""

    code = "grpc-call-failed"
    retry = RetryAdvice.AFTER

    def __init__(self, call: Any, status: Any, trailers: Iterable[tuple[str, Any]]) -> None:
        super().__init__(f"the destination answered {status}: it could not serve the call")
        self.call = call
        self.retry_in, self.moreton_final = _advice(dict(trailers))


class _Details(NamedTuple):
    method: Any
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: Any
    compression: Any


class _Details2(_Details, grpc.ClientCallDetails):  # type: ignore[misc]  # grpc has no types
    pass


class ResilientInterceptor(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]  # as above
    """Makes unary calls under *policy*; a call is repeated only if *idempotent* says that it may.

    The deadline goes out as the call's timeout. Streams are left alone: gRPC hands their messages
    out as they come.
    """

    def __init__(
        self, policy: Policy, *, idempotent: bool = False, failures: Iterable[Any] = FAILURES
    ) -> None:
        check_kind("policy", policy, Policy)
        self._policy = policy
        self._idempotent = idempotent
        self._failures = frozenset(failures)

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], client_call_details: Any, request: Any
    ) -> Any:
        """Make the call; what comes back is the last attempt's call object."""

        def attempt() -> Any:
            call = continuation(_prepared(client_call_details), request)
            status = call.code()
            if status in self._failures:
                raise CallFailed(call, status, call.trailing_metadata() or ())
            return call

        with repeatable(may=self._idempotent):
            try:
                return self._policy.call(attempt)
            except CallFailed as failed:
                return failed.call


class AioResilientInterceptor(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]  # as above
    """As `ResilientInterceptor`, for `grpc.aio`."""

    def __init__(
        self, policy: Policy, *, idempotent: bool = False, failures: Iterable[Any] = FAILURES
    ) -> None:
        check_kind("policy", policy, Policy)
        self._policy = policy
        self._idempotent = idempotent
        self._failures = frozenset(failures)

    async def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], client_call_details: Any, request: Any
    ) -> Any:
        """Make the call; what comes back is the last attempt's call object."""

        async def attempt() -> Any:
            call = await continuation(_prepared_aio(client_call_details), request)
            status = await call.code()
            if status in self._failures:
                raise CallFailed(call, status, await call.trailing_metadata() or ())
            return call

        with repeatable(may=self._idempotent):
            try:
                return await self._policy.call(attempt)
            except CallFailed as failed:
                return failed.call


def _limits(details: Any) -> tuple[float | None, list[tuple[str, str]]]:
    """The timeout and the metadata of an attempt."""
    left = seconds_left()
    timeout = details.timeout
    if left is not None:
        timeout = left if timeout is None else min(timeout, left)
    own = {fields.ATTEMPT, fields.CRITICALITY}
    metadata = [pair for pair in details.metadata or () if pair[0] not in own]
    metadata.append((fields.ATTEMPT, str(attempt_var.get())))
    metadata.append((fields.CRITICALITY, criticality_var.get().value))
    return timeout, metadata


def _prepared(details: Any) -> Any:
    timeout, metadata = _limits(details)
    return _Details2(
        details.method,
        timeout,
        metadata,
        details.credentials,
        getattr(details, "wait_for_ready", None),
        getattr(details, "compression", None),
    )


def _prepared_aio(details: Any) -> Any:
    timeout, metadata = _limits(details)
    return grpc.aio.ClientCallDetails(
        details.method,
        timeout,
        grpc.aio.Metadata(*metadata),
        details.credentials,
        details.wait_for_ready,
    )


def _advice(trailers: dict[str, Any]) -> tuple[timedelta | None, bool]:
    """How long the server asks to wait, and whether retrying is over."""
    final = trailers.get(fields.RETRY) == fields.NEVER
    pushback = str(trailers.get(PUSHBACK, ""))
    if pushback.isascii() and pushback.isdigit() and len(pushback) <= 9:
        return timedelta(milliseconds=int(pushback)), final
    return None, final or bool(pushback)
