"""The gRPC server that Envoys ask, and gRPC's own health check beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from envoy.service.ratelimit.v3 import rls_pb2

from moreton.ratelimit.errors import LimitStoreUnavailable, RateLimitServerNotStarted
from moreton.ratelimit.rls.messages import NotUnderstood, read, write
from moreton.ratelimit.rls.service import RateLimitService

_SERVICE = "envoy.service.ratelimit.v3.RateLimitService"
_HEALTH = "grpc.health.v1.Health"
# A request holds some descriptors of header values.
_MESSAGE_BYTES_MAX = 256 * 1024
# Who asks more at a time than can be answered in its time limit hears so, instead of waiting.
CALLS_MAX = 2_000
# HealthCheckResponse{status: SERVING}, and NOT_SERVING.
_SERVING, _NOT_SERVING = b"\x08\x01", b"\x08\x02"


class RateLimitServer:
    """Answers `ShouldRateLimit` by *service* on every address it listens on."""

    def __init__(
        self, service: RateLimitService, *, calls_max: int = CALLS_MAX, shares_port: bool = False
    ) -> None:
        self._service = service
        self._ending = asyncio.Event()
        # Where several processes listen on one address the kernel shares the connections out.
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
                ("grpc.so_reuseport", int(shares_port)),
            ],
            maximum_concurrent_rpcs=calls_max,
        )
        limits = {
            "ShouldRateLimit": grpc.unary_unary_rpc_method_handler(
                self._decide,
                request_deserializer=rls_pb2.RateLimitRequest.FromString,
                response_serializer=None,
            )
        }
        health = {
            "Check": grpc.unary_unary_rpc_method_handler(self._check),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(_SERVICE, limits),
                grpc.method_handlers_generic_handler(_HEALTH, health),
            )
        )

    def listen(self, address: str, credentials: Any = None) -> int:
        """Listen on *address*, `host:port` or `unix:/path`; the port.

        Raises `RateLimitServerNotStarted`.
        """
        try:
            if credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise RateLimitServerNotStarted(
                f"{address} cannot be listened on: nothing answers there; see that the address is "
                "one of this machine and that no other program has it"
            ) from error
        return int(port)

    async def start(self) -> None:
        """Answer from now on."""
        await self._server.start()

    async def stop(self, grace: float = 1.0) -> None:
        """Say that it ends, end what is under way within *grace* seconds, and leave the store."""
        self._ending.set()
        await self._server.stop(grace)
        await self._service.store.close()

    async def _decide(self, request: Any, context: Any) -> bytes:
        try:
            return write(await self._service.decide(*read(request)))
        except NotUnderstood as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except LimitStoreUnavailable as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        raise AssertionError  # abort raises

    async def _check(self, _: bytes, __: object) -> bytes:
        return _NOT_SERVING if self._ending.is_set() else _SERVING

    async def _watch(self, _: bytes, __: object) -> AsyncIterator[bytes]:
        yield _SERVING
        await self._ending.wait()
        yield _NOT_SERVING
