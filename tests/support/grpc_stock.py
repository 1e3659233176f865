"""A gRPC service that fails as it is told, on a server of threads or of asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import grpc

from moreton.resilience.context import inbound_var, remaining
from moreton.resilience.servers.grpc import AioResilienceInterceptor, ResilienceInterceptor
from support.waits import join_all

SERVICE = "shop.Stock"
HANG = "hang"
RELEASE_SECONDS_MAX = 20


class Stock:
    """Answers with the request; follows *plan* first: a status, or no answer.

    Remembers the attempt and the time left of each call.
    """

    def __init__(self) -> None:
        self.plan: deque[Any] = deque()
        self.attempts: list[str] = []
        self.left: list[timedelta | None] = []
        self.trailers: tuple[tuple[str, str], ...] = ()
        self.exhausted = False
        self.release = threading.Event()

    def begin(self, context: Any) -> Any:
        """What the call is to end with."""
        fields = dict(context.invocation_metadata())
        self.attempts.append(fields.get("x-moreton-attempt", ""))
        self.left.append(remaining())
        found = inbound_var.get()
        assert found is not None
        found.exhausted = self.exhausted
        return self.plan.popleft() if self.plan else None

    def ask(self, request: bytes, context: Any) -> bytes:
        self.follow(self.begin(context), context)
        return request

    def list(self, request: bytes, context: Any) -> Iterator[bytes]:
        step = self.begin(context)
        yield request
        self.left.append(remaining())  # still in the context of the call
        self.follow(step, context)

    def follow(self, step: Any, context: Any) -> None:
        if step == HANG:
            self.release.wait(RELEASE_SECONDS_MAX)
        elif step is not None:
            context.set_trailing_metadata(self.trailers)
            context.abort(step, "as planned")

    async def ask_aio(self, request: bytes, context: Any) -> bytes:
        await self.follow_aio(self.begin(context), context)
        return request

    async def list_aio(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        step = self.begin(context)
        yield request
        self.left.append(remaining())
        await self.follow_aio(step, context)

    async def follow_aio(self, step: Any, context: Any) -> None:
        if step == HANG:
            await asyncio.Event().wait()
        elif step is not None:
            context.set_trailing_metadata(self.trailers)
            await context.abort(step, "as planned")


def _handlers(ask: Any, listing: Any) -> tuple[Any, ...]:
    methods = {
        "Ask": grpc.unary_unary_rpc_method_handler(ask),
        "List": grpc.unary_stream_rpc_method_handler(listing),
    }
    return (grpc.method_handlers_generic_handler(SERVICE, methods),)


@contextlib.contextmanager
def on_threads(stock: Stock) -> Iterator[str]:
    with ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads, interceptors=[ResilienceInterceptor()])
        server.add_generic_rpc_handlers(_handlers(stock.ask, stock.list))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            stock.release.set()
            assert server.stop(None).wait(30)


@contextlib.contextmanager
def on_asyncio(stock: Stock) -> Iterator[str]:
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    ready = threading.Event()
    ports: list[int] = []

    async def serve() -> None:
        server = grpc.aio.server(interceptors=[AioResilienceInterceptor()])
        server.add_generic_rpc_handlers(_handlers(stock.ask_aio, stock.list_aio))
        ports.append(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        ready.set()
        await stop.wait()
        await server.stop(None)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(RELEASE_SECONDS_MAX)
        yield f"127.0.0.1:{ports[0]}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        join_all([thread])
        loop.close()
