"""A drain is acknowledged when every proxy has taken endpoints without the instance, over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest
from envoy.service.discovery.v3 import discovery_pb2

from moreton.controlplane.assembly.plane import Plane
from moreton.controlplane.publishing.publisher import GROUP
from moreton.envoy.core.resources import TypeUrl
from moreton.registry import Instance, InstanceId
from moreton.registry.core.instance import TTL_DEFAULT
from support import delta_client
from support.delta_client import DeltaClient

pytestmark = pytest.mark.slow

PLACE = "/v1/services/catalogue/instances/c0/drain"
ME = {"by": "me@here"}


@pytest.fixture
async def address(plane: Plane, tmp_path: Path) -> AsyncIterator[str]:
    """Where the xDS server listens; two instances are registered."""
    for number in range(2):
        one = Instance(InstanceId(f"c{number}"), "catalogue", "10.0.0.1", 8000 + number)
        await plane.registry.register(one, ttl=TTL_DEFAULT)
    async with asyncio.timeout(10):
        while len(plane.publisher.compiled.members.get("catalogue", ())) < 2:
            await asyncio.sleep(0.01)
    address = f"unix:{tmp_path / 'xds.sock'}"
    await plane.xds.start(address)
    async with plane.drains.running():
        yield address
    await plane.xds.stop()


async def until(client: httpx.AsyncClient, key: str, value: Any) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while (found := (await client.get(PLACE)).json())[key] != value:
            await asyncio.sleep(0.01)
    return dict(found)


async def test_drain_waits_for_the_acknowledgement_of_a_proxy_and_names_it(
    client: httpx.AsyncClient, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta_client, "GROUP", GROUP)
    proxy = DeltaClient(address)
    await proxy.subscribe(TypeUrl.CLUSTER)
    await proxy.accept()
    await proxy.subscribe(TypeUrl.ENDPOINTS, ["catalogue", "shop"])
    await proxy.accept()
    await client.post(PLACE, json=ME)
    told = await proxy.next_response()
    found = (await client.get(PLACE)).json()
    assert found["acknowledged"] is False
    assert found["waits_for"] == "proxy proxy-1 to acknowledge that nothing is sent to it"
    await proxy.ack(told)
    found = await until(client, "acknowledged", True)
    assert found["waits_for"] == "proxy proxy-1 to say how many requests are under way"
    await client.delete(PLACE)
    await proxy.accept()
    await client.post(PLACE, json=ME)
    assert (await client.get(PLACE)).json()["acknowledged"] is False, "it serves there again"
    await proxy.accept()
    await until(client, "acknowledged", True)
    await proxy.close()


async def test_grpc_client_is_waited_for_while_it_uses_the_service(
    client: httpx.AsyncClient, address: str
) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream(
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
            request_serializer=discovery_pb2.DiscoveryRequest.SerializeToString,
            response_deserializer=discovery_pb2.DiscoveryResponse.FromString,
        )()

        async def ask(*names: str, after: Any = None) -> None:
            request = discovery_pb2.DiscoveryRequest(
                type_url=TypeUrl.ENDPOINTS, resource_names=names
            )
            request.node.id = "client-1"
            if after is not None:
                request.response_nonce, request.version_info = after.nonce, after.version_info
            await call.write(request)

        await ask("catalogue")
        first = await call.read()
        await ask("catalogue", after=first)
        await client.post(PLACE, json=ME)
        second = await call.read()
        found = (await client.get(PLACE)).json()
        assert "proxy client-1 to acknowledge" in found["waits_for"]
        await ask("catalogue", after=second)
        found = await until(client, "idle", True)
        assert found["proxies"][0]["requests"] is None, "it does not tell"
        await ask("shop", after=second)
        await until(client, "proxies", [])
        call.cancel()


async def test_instance_beside_one_that_serves_at_the_same_place_has_nothing_to_wait_for(
    client: httpx.AsyncClient, plane: Plane, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As prefork workers are, which share a port."""
    monkeypatch.setattr(delta_client, "GROUP", GROUP)
    twin = Instance(InstanceId("twin"), "catalogue", "10.0.0.1", 8000)
    await plane.registry.register(twin, ttl=TTL_DEFAULT)
    proxy = DeltaClient(address)
    await proxy.subscribe(TypeUrl.CLUSTER)
    await proxy.accept()
    await proxy.subscribe(TypeUrl.ENDPOINTS, ["catalogue", "shop"])
    await proxy.accept()
    await client.post(PLACE, json=ME)
    await until(client, "idle", True)
    await proxy.close()
