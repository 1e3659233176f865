"""The gRPC server to which Envoys show requests and answers: `ext_proc` in observability mode.

Source: envoy/service/ext_proc/v3/external_processor.proto.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
from envoy.service.ext_proc.v3 import external_processor_pb2

from moreton.envoy.core.copies import BODY_BYTES_MAX, ROUTE_METADATA, Shown

_SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
_FILTER = "envoy.filters.http.ext_proc"
# A message carries what Envoy read at once; far below this.
_NOTHING: tuple[bytes, ...] = ()  # is all we answer
_MESSAGE_BYTES_MAX = 8 * 1024 * 1024
# Envoy asks every half second whether we live, and gRPC takes that for an attack by default.
_PINGS = (
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 50),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
)


class ShownServer:
    """Gives each request whose answer is known to *take*, which must not wait.

    A stream is over as soon as the answer is there, or more of it than is kept: Envoy holds nothing
    for it any more. *lost* counts those that ended before.
    """

    def __init__(self, take: Callable[[Shown], None]) -> None:
        self.lost = 0
        self._take = take
        self._server: grpc.aio.Server | None = None

    async def start(self, address: str) -> None:
        """Listen on *address*, `unix:/path`."""
        options = [
            ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
            ("grpc.so_reuseport", 0),
            *_PINGS,
        ]
        server = grpc.aio.server(options=options)
        process = grpc.stream_stream_rpc_method_handler(
            self._process,
            request_deserializer=external_processor_pb2.ProcessingRequest.FromString,
            response_serializer=bytes,
        )
        handlers = grpc.method_handlers_generic_handler(_SERVICE, {"Process": process})
        server.add_generic_rpc_handlers((handlers,))
        server.add_insecure_port(address)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """End every stream; nobody waits for them."""
        if self._server is not None:
            await self._server.stop(grace=0)
            self._server = None

    async def _process(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[bytes]:
        told = dict(context.invocation_metadata() or ())
        heard = _Heard(str(told.get(ROUTE_METADATA, "")))
        async for message in requests:
            if heard.hear(message):
                self._take(heard.shown())
                return
        self.lost += 1
        for nothing in _NOTHING:
            yield nothing


class _Heard:
    """What was shown of one request so far."""

    def __init__(self, route: str) -> None:
        self._route = route
        self._service = ""
        self._request: list[tuple[str, str]] = []
        self._answer: list[tuple[str, str]] = []
        self._body = _Body()
        self._answer_body = _Body()

    def hear(self, message: Any) -> bool:
        """Take note of *message*; whether nothing more is wanted."""
        kind = message.WhichOneof("request")
        if kind == "request_headers":
            self._request = _fields(message.request_headers)
        elif kind == "request_body":
            self._body.add(message.request_body.body)
        elif kind == "response_headers":
            self._answer = _fields(message.response_headers)
            if _FILTER in message.attributes:
                found = message.attributes[_FILTER].fields
                self._service = found["xds.cluster_name"].string_value
            return bool(message.response_headers.end_of_stream)
        elif kind == "response_body":
            self._answer_body.add(message.response_body.body)
            return bool(message.response_body.end_of_stream) or not self._answer_body.complete
        return False

    def shown(self) -> Shown:
        """All of it."""
        pseudo = dict(pair for pair in self._request if pair[0].startswith(":"))
        status = next((value for name, value in self._answer if name == ":status"), "0")
        return Shown(
            route=self._route,
            method=pseudo.get(":method", ""),
            target=pseudo.get(":path", ""),
            host=pseudo.get(":authority", ""),
            headers=[pair for pair in self._request if not pair[0].startswith(":")],
            body=b"".join(self._body.parts),
            body_complete=self._body.complete,
            service=self._service,
            status=int(status) if status.isdigit() else 0,
            answer_headers=[pair for pair in self._answer if not pair[0].startswith(":")],
            answer_body=b"".join(self._answer_body.parts),
            answer_complete=self._answer_body.complete,
        )


class _Body:
    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.complete = True
        self._bytes = 0

    def add(self, part: bytes) -> None:
        room = BODY_BYTES_MAX - self._bytes
        if len(part) > room:
            self.complete = False
            part = part[:room]
        if part:
            self.parts.append(part)
            self._bytes += len(part)


def _fields(message: Any) -> list[tuple[str, str]]:
    """Bytes that are no text are what they are one by one, as HTTP/1.1 has always read them."""
    return [
        (one.key, one.raw_value.decode("latin-1") if one.raw_value else one.value)
        for one in message.headers.headers
    ]
