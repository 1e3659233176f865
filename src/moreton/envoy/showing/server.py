"""The gRPC server to which Envoys show requests and answers: it takes their access log.

Source: envoy/service/accesslog/v3/als.proto.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from moreton.envoy.core.copies import ANSWER, PLACE, REQUEST, Shown
from moreton.envoy.showing.entries import read_logs

_SERVICE = "envoy.service.accesslog.v3.AccessLogService"
# A message holds what was shown at once: far below this, unless bodies are large.
_MESSAGE_BYTES_MAX = 16 * 1024 * 1024
# What may come unasked, and as one frame: several messages as a proxy makes them. With 64 KiB and
# 16, which is what HTTP/2 begins with, it has to wait for us in the middle of each.
_AT_ONCE_BYTES = 1024 * 1024
_OPTIONS = (
    ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
    ("grpc.so_reuseport", 0),
    # It would ask Envoy for an answer to measure how much it may be sent at once.
    ("grpc.http2.bdp_probe", 0),
    # Envoy asks every half second whether we live, and gRPC takes that for an attack by default.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 50),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.lookahead_bytes", _AT_ONCE_BYTES),
    ("grpc.http2.max_frame_size", _AT_ONCE_BYTES),
)
_CUT, _BASE64 = b"c", b"b"


class ShownServer:
    """Gives each request whose answer is known to *take*, which must not wait.

    Of one of which a side is missing, as the proxy had no room for it, *lose* is told the route.
    """

    def __init__(self, take: Callable[[Shown], None], lose: Callable[[str], None]) -> None:
        self._take = take
        self._lose = lose
        self._server: grpc.aio.Server | None = None

    async def start(self, address: str) -> None:
        """Listen on *address*, `unix:/path`."""
        server = grpc.aio.server(options=_OPTIONS)
        logs = grpc.stream_unary_rpc_method_handler(
            self._logs, request_deserializer=read_logs, response_serializer=bytes
        )
        handlers = grpc.method_handlers_generic_handler(_SERVICE, {"StreamAccessLogs": logs})
        server.add_generic_rpc_handlers((handlers,))
        server.add_insecure_port(address)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """End every stream; nobody waits for them."""
        if self._server is not None:
            await self._server.stop(grace=0)
            self._server = None

    async def _logs(self, messages: AsyncIterator[Any], _: Any) -> bytes:
        async for message in messages:
            for entry in message.http_logs.log_entry:
                shown = _shown(entry.common_properties)
                if shown is None:
                    self._lose(entry.common_properties.route_name)
                else:
                    self._take(shown)
        return b""


@dataclass(frozen=True, slots=True)
class _Laid:
    """One side of a request: what a proxy laid beside it, as `show.lua` says."""

    fields: Sequence[tuple[str, str]]
    body: bytes
    complete: bool

    @classmethod
    def read(cls, value: Any) -> _Laid:
        texts = [one.string_value for one in value.list_value.values] or [value.string_value]
        head, body, how = (*texts, b"", b"")[:3]
        if not head:
            raise ValueError("there was no room for it")
        if _BASE64 in how:
            body = base64.b64decode(body)
        # Bytes that are no text are what they are one by one, as HTTP/1.1 has always read them.
        told = [part.decode("latin-1") for part in head.split(b"\n")]
        return cls(list(zip(told[::2], told[1::2], strict=True)), body, _CUT not in how)

    def pseudo(self, name: str) -> str:
        return next((value for key, value in self.fields if key == name), "")

    def own(self) -> Sequence[tuple[str, str]]:
        return [pair for pair in self.fields if not pair[0].startswith(":")]


def _shown(common: Any) -> Shown | None:
    """All of it; `None` where one side is missing, or is none of ours."""
    places = {place.key: place.value.fields for place in common.metadata.filter_metadata}
    laid = {field.key: field.value for field in places.get(PLACE, ())}
    try:
        request, answer = _Laid.read(laid[REQUEST]), _Laid.read(laid[ANSWER])
    except (KeyError, ValueError):
        return None
    status = answer.pseudo(":status")
    return Shown(
        route=common.route_name,
        method=request.pseudo(":method"),
        target=request.pseudo(":path"),
        host=request.pseudo(":authority"),
        headers=request.own(),
        body=request.body,
        body_complete=request.complete,
        service=common.upstream_cluster,
        status=int(status) if status.isdigit() else 0,
        answer_headers=answer.own(),
        answer_body=answer.body,
        answer_complete=answer.complete,
    )
