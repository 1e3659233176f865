"""Interceptors for gRPC servers: the deadline, criticality and attempt of a call as its context.

server = grpc.server(executor, interceptors=[ResilienceInterceptor()])
server = grpc.aio.server(interceptors=[AioResilienceInterceptor()])
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from moreton.resilience.core.headers import GRPC_TIMEOUT, NEVER, RETRY, format_grpc_timeout
from moreton.resilience.servers.inbound import inbound


class ResilienceInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Serves unary calls within the context of their caller.

    A call that fails after its own calls were retried in vain tells so in its trailing metadata.
    """

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: Any
    ) -> Any:
        """The handler, within the context."""
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler

        def serve(request: Any, context: Any) -> Any:
            with inbound(_headers(context)) as found:
                try:
                    return handler.unary_unary(request, context)
                finally:
                    if found.exhausted:
                        context.set_trailing_metadata(((RETRY, NEVER),))

        return grpc.unary_unary_rpc_method_handler(
            serve, handler.request_deserializer, handler.response_serializer
        )


class AioResilienceInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # as above
    """As `ResilienceInterceptor`, for `grpc.aio`."""

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """The handler, within the context."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler

        async def serve(request: Any, context: Any) -> Any:
            with inbound(_headers(context)) as found:
                try:
                    return await handler.unary_unary(request, context)
                finally:
                    if found.exhausted:
                        context.set_trailing_metadata(((RETRY, NEVER),))

        return grpc.unary_unary_rpc_method_handler(
            serve, handler.request_deserializer, handler.response_serializer
        )


def _headers(context: Any) -> dict[str, str]:
    headers = {str(name): str(value) for name, value in context.invocation_metadata() or ()}
    left = context.time_remaining()
    if left is not None:
        headers[GRPC_TIMEOUT] = format_grpc_timeout(max(left, 0.0))
    return headers
