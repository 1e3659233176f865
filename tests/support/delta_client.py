"""A delta client of our own over real gRPC, which can acknowledge, refuse and reconnect."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2

from moreton.envoy.core.resources import Resource, ResourceKey, Snapshot, TypeUrl

GROUP = "test"
_SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
_ANSWER_SECONDS = 5.0
_SILENCE_SECONDS = 0.15


class DeltaClient:
    """One stream. `next_response` is what the server sends, `silent` that it sends nothing."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(
            address, options=[("grpc.max_send_message_length", -1)]
        )
        method = self._channel.stream_stream(
            _SERVICE + "DeltaAggregatedResources",
            request_serializer=discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
            response_deserializer=discovery_pb2.DeltaDiscoveryResponse.FromString,
        )
        self._call = method()
        self._read: asyncio.Task[Any] | None = None

    async def send(self, type_url: TypeUrl, **fields: Any) -> None:
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, **fields)
        request.node.id, request.node.cluster = "proxy-1", GROUP
        await self._call.write(request)

    async def subscribe(
        self,
        type_url: TypeUrl,
        names: Iterable[str] = (),
        held: Mapping[str, str] | None = None,
    ) -> None:
        await self.send(
            type_url,
            resource_names_subscribe=list(names),
            initial_resource_versions=dict(held or {}),
        )

    async def ack(self, response: Any) -> None:
        await self.send(TypeUrl(response.type_url), response_nonce=response.nonce)

    async def nack(self, response: Any, message: str) -> None:
        await self.send(
            TypeUrl(response.type_url),
            response_nonce=response.nonce,
            error_detail={"code": 3, "message": message},
        )

    async def next_response(self) -> Any:
        if self._read is None:
            self._read = asyncio.ensure_future(self._call.read())
        response = await asyncio.wait_for(asyncio.shield(self._read), _ANSWER_SECONDS)
        self._read = None
        return response

    async def accept(self) -> Any:
        response = await self.next_response()
        await self.ack(response)
        return response

    async def silent(self) -> bool:
        if self._read is None:
            self._read = asyncio.ensure_future(self._call.read())
        done, _ = await asyncio.wait([self._read], timeout=_SILENCE_SECONDS)
        return not done

    async def close(self) -> None:
        self._call.cancel()
        if self._read is not None:
            self._read.cancel()
        await self._channel.close()


def names(response: Any) -> set[str]:
    return {resource.name for resource in response.resources}


def resource(
    type_url: TypeUrl, name: str, version: str = "1", needs: Iterable[ResourceKey] = ()
) -> Resource:
    key = ResourceKey(type_url, name)
    return Resource(key, version, f"{name}@{version}".encode(), frozenset(needs))


def cluster(name: str, version: str = "1") -> Resource:
    return resource(TypeUrl.CLUSTER, name, version)


def endpoints(name: str, version: str = "1") -> Resource:
    return resource(TypeUrl.ENDPOINTS, name, version)


def routes(name: str, clusters: Iterable[str], version: str = "1") -> Resource:
    kinds = (TypeUrl.CLUSTER, TypeUrl.ENDPOINTS)
    needs = [ResourceKey(kind, each) for each in clusters for kind in kinds]
    return resource(TypeUrl.ROUTES, name, version, needs)


def snapshot(*resources: Resource) -> Snapshot:
    return Snapshot({each.key: each for each in resources})
