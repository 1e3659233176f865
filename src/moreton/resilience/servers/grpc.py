"""Interceptors for gRPC servers: the deadline, criticality and attempt of a call as its context.

server = grpc.server(executor, interceptors=[ResilienceInterceptor()])
server = grpc.aio.server(interceptors=[AioResilienceInterceptor()])
"""

from __future__ import annotations

import contextvars
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import grpc

from moreton.resilience.context import Inbound
from moreton.resilience.core.headers import GRPC_TIMEOUT, NEVER, RETRY, format_grpc_timeout
from moreton.resilience.servers.inbound import inbound

Behavior = Callable[[Any, Any], Any]
_TOLD = (RETRY, NEVER)


class ResilienceInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Serves calls and streams within the context of their caller.

    A call that ends after its own calls were retried in vain tells so in its trailing metadata.
    """

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: Any
    ) -> Any:
        """The handler, within the context."""
        return wrapped(continuation(handler_call_details), _serve, _serve_stream)


class AioResilienceInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # as above
    """As `ResilienceInterceptor`, for `grpc.aio`."""

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """The handler, within the context."""
        return wrapped(
            await continuation(handler_call_details),
            # Plain functions run in threads, with a context of the other kind.
            lambda call: _serve_aio(call) if is_async(call) else _serve(call),
            lambda call: _serve_aio_stream(call) if is_async(call) else _serve_stream(call),
        )


def wrapped(
    handler: Any, unary: Callable[[Behavior], Behavior], stream: Callable[[Behavior], Behavior]
) -> Any:
    """*handler*, with its function for an answer or a *stream* of them wrapped."""
    if handler is None:
        return None
    kind = "_".join(
        "stream" if streams else "unary"
        for streams in (handler.request_streaming, handler.response_streaming)
    )
    wrap = stream if handler.response_streaming else unary
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    behavior = wrap(getattr(handler, kind))
    return make(behavior, handler.request_deserializer, handler.response_serializer)


def is_async(behavior: Behavior) -> bool:
    """Whether *behavior* runs on the loop."""
    return inspect.iscoroutinefunction(behavior) or inspect.isasyncgenfunction(behavior)


def _serve(behavior: Behavior) -> Behavior:
    def serve(request: Any, context: Any) -> Any:
        with inbound(_headers(context)) as found:
            try:
                return behavior(request, context)
            finally:
                _tell(context, found)

    return serve


def _serve_stream(behavior: Behavior) -> Behavior:
    def serve(request: Any, context: Any) -> Iterator[Any]:
        # Threads take turns with the messages: a context of their own lasts until the last one.
        own = contextvars.copy_context()
        items = _items(behavior, request, context)
        try:
            while True:
                try:
                    item = own.run(next, items)
                except StopIteration:
                    return
                yield item
        finally:
            own.run(items.close)

    return serve


def _items(behavior: Behavior, request: Any, context: Any) -> Any:
    with inbound(_headers(context)) as found:
        try:
            yield from behavior(request, context)
        finally:
            _tell(context, found)


def _serve_aio(behavior: Behavior) -> Behavior:
    async def serve(request: Any, context: Any) -> Any:
        with inbound(_headers(context)) as found:
            told = _Context(context, found)
            try:
                return await behavior(request, told)
            finally:
                told.tell()

    return serve


def _serve_aio_stream(behavior: Behavior) -> Behavior:
    async def serve(request: Any, context: Any) -> AsyncIterator[Any]:
        with inbound(_headers(context)) as found:
            told = _Context(context, found)
            try:
                items = behavior(request, told)
                if inspect.isawaitable(items):  # it writes to the context itself
                    await items
                    return
                async for item in items:
                    yield item
            finally:
                told.tell()

    return serve


class _Context:
    """The context of a call of `grpc.aio`, which sends its trailing metadata when it is aborted."""

    def __init__(self, context: Any, found: Inbound) -> None:
        self._context = context
        self._found = found
        self._aborted = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def abort(
        self, code: Any, details: str = "", trailing_metadata: tuple[Any, ...] = ()
    ) -> None:
        """End the call."""
        self._aborted = True
        if self._found.exhausted:
            kept = trailing_metadata or self._context.trailing_metadata() or ()
            trailing_metadata = (*kept, _TOLD)
        await self._context.abort(code, details, trailing_metadata)

    def tell(self) -> None:
        """At the end of the call."""
        if not self._aborted:
            _tell(self._context, self._found)


def _tell(context: Any, found: Inbound) -> None:
    if found.exhausted:
        context.set_trailing_metadata((*(context.trailing_metadata() or ()), _TOLD))


def _headers(context: Any) -> dict[str, str]:
    headers = {str(name): str(value) for name, value in context.invocation_metadata() or ()}
    left = context.time_remaining()
    if left is not None:
        headers[GRPC_TIMEOUT] = format_grpc_timeout(max(left, 0.0))
    return headers
