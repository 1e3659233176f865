"""The gRPC server that carries `Delivery` to proxies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2

from moreton.envoy.core.delivery import Published
from moreton.envoy.core.resources import Resource, ResourceKey, Snapshot
from moreton.envoy.xds.status import ObjectState, ObjectStatus, ProxyStatus, judge
from moreton.envoy.xds.streams import DeltaStream, SotwStream, Stream

# A proxy that reconnects lists every resource it has: 4 MiB, gRPC's default, is too little.
_MESSAGE_BYTES_MAX = 32 * 1024 * 1024
_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
PROXYLESS = "proxyless"


class XdsServer:
    """Serves one snapshot for each group of proxies; a proxy's group is its `node.cluster`."""

    def __init__(self, on_change: Callable[[], None] | None = None) -> None:
        self._snapshots: dict[str, Snapshot] = {}
        self._streams: set[Stream] = set()
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
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(
                self._sotw,
                request_deserializer=discovery_pb2.DiscoveryRequest.FromString,
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

    def extend(self, group: str, resources: Sequence[Resource]) -> None:
        """Let the proxies of *group* keep *resources* for as long as they say now.

        They should be published, with the same content.
        """
        for stream in list(self._streams):
            if stream.proxy.group == group:
                stream.extend(resources)

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

    async def _delta(self, requests: AsyncIterator[Any], _: object) -> AsyncIterator[bytes]:
        async for response in self._serve(requests, DeltaStream):
            yield response

    async def _sotw(self, requests: AsyncIterator[Any], _: object) -> AsyncIterator[bytes]:
        async for response in self._serve(requests, SotwStream):
            yield response

    async def _serve(
        self, requests: AsyncIterator[Any], variant: type[DeltaStream | SotwStream]
    ) -> AsyncIterator[bytes]:
        first = await anext(aiter(requests), None)
        if first is None:
            return
        # gRPC clients name no group of ours: they share the services' own resources.
        group = first.node.cluster if variant is DeltaStream else PROXYLESS
        stream = variant(ProxyStatus(first.node.id, group), self._notice)
        stream.feed(Published(self._snapshots.get(group, Snapshot())))
        stream.request(first)
        self._streams.add(stream)

        async def read() -> None:
            try:
                async for request in requests:
                    stream.request(request)
            finally:  # one that nobody reads from any more would never hear of its proxy again
                stream.close()

        reader = asyncio.create_task(read())
        try:
            async for response in stream.responses():
                yield response
        finally:
            reader.cancel()
            self._streams.discard(stream)
            self._notice()
