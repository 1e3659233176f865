"""Interceptors for gRPC servers: calls that are too many end with RESOURCE_EXHAUSTED.

server = grpc.server(executor, interceptors=[RateLimitInterceptor(Rule(limiter, by_address()))])
server = grpc.aio.server(interceptors=[AioRateLimitInterceptor(Rule(limiter, by_address()))])
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import unquote

import grpc

from moreton.ratelimit.rules import Caller, Refusal, RuleSource
from moreton.ratelimit.servers.guard import Guard, Passage
from moreton.resilience.servers.grpc import is_async, wrapped

Behavior = Callable[[Any, Any], Any]
_OK, _FAILED = 200, 500


class RateLimitInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Lets calls and streams pass *rules*; `retry-after` and the others are trailing metadata."""

    def __init__(self, *rules: RuleSource) -> None:
        self._guard = Guard(rules)

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: Any
    ) -> Any:
        """The handler, behind the rules."""
        method = handler_call_details.method
        serve = _Serving(self._guard, method)
        return wrapped(continuation(handler_call_details), serve.answer, serve.stream)


class AioRateLimitInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # as above
    """As `RateLimitInterceptor`, for `grpc.aio`."""

    def __init__(self, *rules: RuleSource) -> None:
        self._guard = Guard(rules)

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """The handler, behind the rules."""
        serve = _Serving(self._guard, handler_call_details.method)
        return wrapped(
            await continuation(handler_call_details),
            # Plain functions run in threads, with a context of the other kind.
            lambda call: serve.answer_aio(call) if is_async(call) else serve.answer(call),
            lambda call: serve.stream_aio(call) if is_async(call) else serve.stream(call),
        )


class _Serving:
    def __init__(self, guard: Guard, method: str) -> None:
        self._guard = guard
        self._method = method

    def answer(self, behavior: Behavior) -> Behavior:
        def serve(request: Any, context: Any) -> Any:
            passage = self._guard.enter(self._caller(context))
            if passage.refusal is not None:
                _abort(context, passage.refusal)
            status = _FAILED
            try:
                found = behavior(request, context)
                status = _OK
            finally:
                self._guard.leave(passage, status)
            return found

        return serve

    def stream(self, behavior: Behavior) -> Behavior:
        def serve(request: Any, context: Any) -> Iterator[Any]:
            passage = self._guard.enter(self._caller(context))
            if passage.refusal is not None:
                _abort(context, passage.refusal)
            status = _FAILED
            try:
                yield from behavior(request, context)
                status = _OK
            finally:
                self._guard.leave(passage, status)

        return serve

    def answer_aio(self, behavior: Behavior) -> Behavior:
        async def serve(request: Any, context: Any) -> Any:
            passage = await self._enter(context)
            status = _FAILED
            try:
                found = await behavior(request, context)
                status = _OK
            finally:
                await self._guard.leave_async(passage, status)
            return found

        return serve

    def stream_aio(self, behavior: Behavior) -> Behavior:
        async def serve(request: Any, context: Any) -> AsyncIterator[Any]:
            passage = await self._enter(context)
            status = _FAILED
            try:
                items = behavior(request, context)
                if inspect.isawaitable(items):  # it writes to the context itself
                    await items
                else:
                    async for item in items:
                        yield item
                status = _OK
            finally:
                await self._guard.leave_async(passage, status)

        return serve

    async def _enter(self, context: Any) -> Passage:
        passage = await self._guard.enter_async(self._caller(context))
        if passage.refusal is not None:
            code, details, metadata = _ending(passage.refusal)
            await context.abort(code, details, metadata)
        return passage

    def _caller(self, context: Any) -> Caller:
        headers: dict[str, str] = {}
        for name, value in context.invocation_metadata() or ():
            # A list may be in several fields.
            headers[name] = f"{headers[name]},{value}" if name in headers else str(value)
        return Caller("POST", self._method, headers, _address(context.peer()))


def _address(peer: str) -> str:
    """The address in `ipv4:127.0.0.1:5000` or `ipv6:[::1]:5000`; none of a Unix socket."""
    kind, _, rest = unquote(peer).partition(":")
    if kind == "unix":
        return ""
    return rest.rpartition(":")[0].strip("[]") if kind in {"ipv4", "ipv6"} else peer


def _ending(refusal: Refusal) -> tuple[Any, str, tuple[tuple[str, str], ...]]:
    told = tuple(one for one in refusal.fields if not one[0].startswith("content-"))
    code = (
        grpc.StatusCode.PERMISSION_DENIED if refusal.banned else grpc.StatusCode.RESOURCE_EXHAUSTED
    )
    return code, refusal.detail, told


def _abort(context: Any, refusal: Refusal) -> None:
    code, details, metadata = _ending(refusal)
    context.set_trailing_metadata(metadata)
    context.abort(code, details)
