"""The gRPC server that carries `Delivery` to proxies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2

from moreton.envoy.core.delivery import (
    Acknowledged,
    Delivery,
    Event,
    Published,
    Refused,
    Send,
    Subscribe,
)
from moreton.envoy.core.resources import ResourceKey, Snapshot, TypeUrl
from moreton.envoy.xds.frames import delta_response
from moreton.envoy.xds.status import ObjectState, ObjectStatus, ProxyStatus, judge

# A proxy that reconnects lists every resource it has: 4 MiB, gRPC's default, is too little.
_MESSAGE_BYTES_MAX = 32 * 1024 * 1024
_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_TYPES = {str(member): member for member in TypeUrl}


class XdsServer:
    """Serves one snapshot for each group of proxies; a proxy's group is its `node.cluster`."""

    def __init__(self, on_change: Callable[[], None] | None = None) -> None:
        self._snapshots: dict[str, Snapshot] = {}
        self._streams: set[_Stream] = set()
        self._changed = asyncio.Event()
        self._on_change = on_change
        self._server: grpc.aio.Server | None = None

    async def start(self, address: str, credentials: Any = None) -> None:
        """Listen on *address* (`unix:/path`, or `host:port` with *credentials*)."""
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
            ]
        )
        handlers = {
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(
                self._delta,
                request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString,
                response_serializer=bytes,
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
        if credentials is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, credentials)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """End every stream; proxies keep what they have."""
        if self._server is not None:
            await self._server.stop(grace=0)
            self._server = None

    def publish(self, group: str, snapshot: Snapshot) -> None:
        """What the proxies of *group* shall have from now on; the latest wins."""
        self._snapshots[group] = snapshot
        for stream in list(self._streams):
            if stream.proxy.group == group:
                stream.feed(Published(snapshot))

    def proxies(self) -> Sequence[ProxyStatus]:
        """Every connected proxy."""
        return [stream.proxy for stream in self._streams]

    def status(self, group: str, key: ResourceKey) -> ObjectStatus:
        """How far the published version of *key* has come in *group*."""
        proxies = [s.proxy for s in self._streams if s.proxy.group == group]
        resource = self._snapshots.get(group, Snapshot()).resources.get(key)
        return judge(proxies, key, resource.version if resource else "")

    async def wait_applied(self, group: str, keys: Sequence[ResourceKey], seconds: float) -> bool:
        """Whether every proxy of *group* has the published *keys* within *seconds*."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not all(self.status(group, key).state is ObjectState.APPLIED for key in keys):
                    self._changed.clear()
                    await self._changed.wait()
            return True
        return False

    def _notice(self) -> None:
        self._changed.set()
        if self._on_change is not None:
            self._on_change()

    async def _delta(
        self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[bytes]:
        first = await anext(aiter(requests), None)
        if first is None:
            return
        group = first.node.cluster
        stream = _Stream(ProxyStatus(first.node.id, group), self._notice)
        stream.feed(Published(self._snapshots.get(group, Snapshot())))
        stream.request(first)
        self._streams.add(stream)

        async def read() -> None:
            async for request in requests:
                stream.request(request)
            stream.close()

        reader = asyncio.create_task(read())
        try:
            async for response in stream.responses():
                yield response
        finally:
            reader.cancel()
            self._streams.discard(stream)
            self._notice()
        del context


class _Stream:
    """One stream: its machine, its outbox."""

    def __init__(self, proxy: ProxyStatus, notice: Callable[[], None]) -> None:
        self.proxy = proxy
        self._delivery = Delivery()
        self._seen: set[TypeUrl] = set()
        self._outbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._notice = notice

    def feed(self, event: Event) -> None:
        """Hand *event* to the machine and perform what it says."""
        for effect in self._delivery.handle(event):
            if isinstance(effect, Send):
                self._outbox.put_nowait(
                    delta_response(effect.type_url, effect.nonce, effect.resources, effect.removed)
                )
            else:
                self.proxy.count(effect)
        self._notice()

    def request(self, request: Any) -> None:
        """Take in one `DeltaDiscoveryRequest`."""
        type_url = _TYPES.get(request.type_url)
        if type_url is None:
            return
        if request.response_nonce:
            if request.HasField("error_detail"):
                reason = request.error_detail.message
                self.feed(Refused(type_url, request.response_nonce, reason))
            else:
                self.feed(Acknowledged(type_url, request.response_nonce))
        first = type_url not in self._seen
        self._seen.add(type_url)
        if first or request.resource_names_subscribe or request.resource_names_unsubscribe:
            self.feed(
                Subscribe(
                    type_url,
                    frozenset(request.resource_names_subscribe),
                    frozenset(request.resource_names_unsubscribe),
                    dict(request.initial_resource_versions) if first else {},
                    first,
                )
            )

    async def responses(self) -> AsyncIterator[bytes]:
        """What to send, until the stream is closed."""
        while (response := await self._outbox.get()) is not None:
            yield response

    def close(self) -> None:
        """End `responses`."""
        self._outbox.put_nowait(None)
