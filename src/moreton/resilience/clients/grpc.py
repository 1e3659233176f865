"""Interceptors for gRPC clients, sync and asyncio.

channel = grpc.intercept_channel(channel, ResilientInterceptor(policy))
channel = grpc.aio.insecure_channel(
    target, interceptors=[AioResilientInterceptor(policy), *AIO_STREAM_INTERCEPTORS]
)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple, Self

import grpc

from moreton.kernel.arguments import check_kind
from moreton.kernel.errors import MoretonError, RetryAdvice
from moreton.resilience.clients.exchange import (
    check_time,
    is_time_over,
    late,
    repeatable,
    seconds_left,
)
from moreton.resilience.clients.foreign import as_foreign
from moreton.resilience.context import attempt_var, criticality_var
from moreton.resilience.core import headers as fields
from moreton.resilience.errors import DeadlineExceeded, Refused
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


class _Untold(grpc.RpcError):  # type: ignore[misc]  # grpc has no types
    """What a layer raises, as who catches gRPC's errors asks it."""

    def details(self) -> str:
        return str(self)

    def debug_error_string(self) -> str:
        return str(self)

    def initial_metadata(self) -> tuple[()]:
        return ()

    def trailing_metadata(self) -> tuple[()]:
        return ()


class _AioUntold(_Untold, grpc.aio.AioRpcError):  # type: ignore[misc]  # as above
    __str__ = Exception.__str__
    __repr__ = Exception.__repr__


class _Code(str):
    """Moreton's code of an error, and gRPC's when it is called: both are asked for as `code`."""

    __slots__ = ("_status",)
    _status: Any

    def __new__(cls, code: str, status: Any) -> Self:
        made = super().__new__(cls, code)
        made._status = status
        return made

    def __call__(self) -> Any:
        return self._status


@contextlib.contextmanager
def _as_untold(kind: type[Exception]) -> Iterator[None]:
    """Within: what a layer raises is a *kind*, too."""
    try:
        yield
    except Refused as error:
        code = _Code(error.code, grpc.StatusCode.UNAVAILABLE)
        raise as_foreign(error, kind, code=code) from error
    except DeadlineExceeded as error:
        code = _Code(error.code, grpc.StatusCode.DEADLINE_EXCEEDED)
        raise as_foreign(error, kind, code=code) from error


class _Details(NamedTuple):
    method: Any
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: Any
    compression: Any


class _Details2(_Details, grpc.ClientCallDetails):  # type: ignore[misc]  # grpc has no types
    pass


class _Interceptor:
    def __init__(
        self, policy: Policy, *, idempotent: bool = False, failures: Iterable[Any] = FAILURES
    ) -> None:
        check_kind("policy", policy, Policy)
        self._policy = policy
        self._idempotent = idempotent
        self._failures = frozenset(failures)

    def _raise_if_late(self, status: Any) -> None:
        if status is grpc.StatusCode.DEADLINE_EXCEEDED and is_time_over():
            raise late()


class ResilientInterceptor(
    _Interceptor,
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[misc]  # as above
    grpc.UnaryStreamClientInterceptor,  # type: ignore[misc]  # as above
    grpc.StreamUnaryClientInterceptor,  # type: ignore[misc]  # as above
    grpc.StreamStreamClientInterceptor,  # type: ignore[misc]  # as above
):
    """Makes unary calls under *policy*; a call is repeated only if *idempotent* says that it may.

    The deadline goes out as the call's timeout. Calls that end with a status in *failures* are
    tried again and count as failures for breakers, and so do those that the time limit ended. What
    a layer raises is an error of gRPC, too. A stream gets the deadline and the header fields, no
    more: gRPC hands its messages out as they come, and a stream that has begun cannot be repeated.
    """

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], client_call_details: Any, request: Any
    ) -> Any:
        """Make the call; what comes back is the last attempt's call object."""

        def attempt() -> Any:
            check_time()
            call = continuation(_prepared(client_call_details), request)
            status = call.code()
            self._raise_if_late(status)
            if status in self._failures:
                raise CallFailed(call, status, call.trailing_metadata() or ())
            return call

        with repeatable(may=self._idempotent), _as_untold(_Untold):
            try:
                return self._policy.call(attempt)
            except CallFailed as failed:
                return failed.call

    def _stream(self, continuation: Callable[[Any, Any], Any], details: Any, request: Any) -> Any:
        return continuation(_prepared(details), request)

    intercept_unary_stream = intercept_stream_unary = intercept_stream_stream = _stream


class AioResilientInterceptor(_Interceptor, grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]  # as above
    """As `ResilientInterceptor`, for unary calls of `grpc.aio`."""

    async def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], client_call_details: Any, request: Any
    ) -> Any:
        """Make the call; what comes back is the last attempt's call object."""

        async def attempt() -> Any:
            check_time()
            call = await continuation(_prepared_aio(client_call_details), request)
            try:
                status = await call.code()
            finally:
                call.cancel()  # nothing, once it has ended
            self._raise_if_late(status)
            if status in self._failures:
                raise CallFailed(call, status, await call.trailing_metadata() or ())
            return call

        with repeatable(may=self._idempotent), _as_untold(_AioUntold):
            try:
                return await self._policy.call(attempt)
            except CallFailed as failed:
                return failed.call


async def _stream_aio(
    _: object, continuation: Callable[[Any, Any], Any], client_call_details: Any, request: Any
) -> Any:
    return await continuation(_prepared_aio(client_call_details), request)


class _AioUnaryStream(grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[misc]  # as above
    intercept_unary_stream = _stream_aio


class _AioStreamUnary(grpc.aio.StreamUnaryClientInterceptor):  # type: ignore[misc]  # as above
    intercept_stream_unary = _stream_aio


class _AioStreamStream(grpc.aio.StreamStreamClientInterceptor):  # type: ignore[misc]  # as above
    intercept_stream_stream = _stream_aio


# `grpc.aio` takes an interceptor for one kind of calls only.
AIO_STREAM_INTERCEPTORS = (_AioUnaryStream(), _AioStreamUnary(), _AioStreamStream())


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
