"""`moreton:///orders` in a Python gRPC client: stubs, interceptors and servers as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import grpc
import pytest

from e2e.discovery.world import PushingServer, instance
from moreton.registry.discovery import AsyncDiscovery, Discovery, NoInstance
from moreton.registry.discovery.clients import grpc as for_threads
from moreton.registry.discovery.clients import grpc_aio as for_asyncio
from moreton.registry.discovery.clients.grpc_calls import service_of_target
from moreton.resilience import Backoff, Policy, Retry
from support.grpc_stock import HANG, SERVICE, Stock, on_threads
from support.ports import free_port
from support.waits import wait_until

pytestmark = pytest.mark.e2e

TARGET = "moreton:///orders"
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
SECONDS_MAX = 20
ASK, LIST = f"/{SERVICE}/Ask", f"/{SERVICE}/List"


def careful() -> Policy:
    return Policy(Retry(attempts=4, backoff=Backoff.constant(timedelta(milliseconds=1))))


class Instances:
    """Two real servers, both registered."""

    def __init__(self, server: PushingServer, stocks: list[Stock], ports: list[int]) -> None:
        self.server = server
        self.stocks = stocks
        self.ports = ports

    def counts(self) -> list[int]:
        return [len(stock.attempts) for stock in self.stocks]


@pytest.fixture
def instances(server: PushingServer) -> Iterator[Instances]:
    stocks = [Stock(), Stock()]
    with on_threads(stocks[0]) as first, on_threads(stocks[1]) as second:
        ports = [int(address.rpartition(":")[2]) for address in (first, second)]
        server.put(*(instance(f"i{n}", port) for n, port in enumerate(ports)))
        yield Instances(server, stocks, ports)


def call_sync(place: Any, count: int, **settings: Any) -> list[bytes]:
    with (
        Discovery(**place) as discovery,
        for_threads.channel(TARGET, discovery, **settings) as channel,
    ):
        ask = channel.unary_unary(ASK)
        return [ask(b"figs", timeout=SECONDS_MAX) for _ in range(count)]


def call_aio(place: Any, count: int, **settings: Any) -> list[bytes]:
    async def calling() -> list[bytes]:
        async with (
            AsyncDiscovery(**place) as discovery,
            for_asyncio.channel(TARGET, discovery, **settings) as channel,
        ):
            ask = channel.unary_unary(ASK)
            return [await ask(b"figs", timeout=SECONDS_MAX) for _ in range(count)]

    return asyncio.run(calling())


CALLS = pytest.mark.parametrize("call", [call_sync, call_aio], ids=["threads", "asyncio"])


@CALLS
def test_calls_are_spread_over_the_instances(call: Any, instances: Instances) -> None:
    assert call(instances.server.place, 40) == [b"figs"] * 40
    assert sum(instances.counts()) == 40
    assert min(instances.counts()) > 5


@CALLS
def test_idempotent_call_is_repeated_elsewhere(call: Any, instances: Instances) -> None:
    instances.stocks[0].plan.extend([UNAVAILABLE] * 30)
    settings = {"policy": careful(), "idempotent": True}
    assert call(instances.server.place, 10, **settings) == [b"figs"] * 10
    assert instances.counts()[1] == 10
    assert instances.counts()[0] <= 3, "it is left alone after that"


@CALLS
def test_call_that_is_not_idempotent_is_made_once(call: Any, instances: Instances) -> None:
    for stock in instances.stocks:
        stock.plan.append(UNAVAILABLE)
    with pytest.raises(grpc.RpcError) as caught:
        call(instances.server.place, 1, policy=careful())
    assert caught.value.code() is UNAVAILABLE
    assert sum(instances.counts()) == 1


@CALLS
def test_closed_port_costs_no_call(call: Any, instances: Instances) -> None:
    gone = [instance(f"gone-{n}", free_port()) for n in range(3)]
    instances.server.put(*gone)
    assert call(instances.server.place, 20) == [b"figs"] * 20


@CALLS
def test_service_without_an_instance_is_an_error_of_grpc(call: Any, server: PushingServer) -> None:
    for idempotent in (False, True):
        with pytest.raises(NoInstance, match="none is registered") as caught:
            call(server.place, 1, policy=careful(), idempotent=idempotent)
        assert isinstance(caught.value, grpc.RpcError)
        error: Any = caught.value
        assert error.code() is UNAVAILABLE
        assert "none is registered" in error.details()


def test_streams_futures_and_readiness_of_threads(instances: Instances) -> None:
    with (
        Discovery(**instances.server.place) as discovery,
        for_threads.channel(TARGET, discovery) as channel,
    ):
        grpc.channel_ready_future(channel).result(SECONDS_MAX)
        assert list(channel.unary_stream(LIST)(b"figs")) == [b"figs"]
        assert channel.unary_unary(ASK).future(b"figs").result(SECONDS_MAX) == b"figs"
        response, call = channel.unary_unary(ASK).with_call(b"figs")
        assert (response, call.code()) == (b"figs", grpc.StatusCode.OK)
        for stock in instances.stocks:
            stock.plan.append(HANG)
        hanging = channel.unary_stream(LIST)(b"figs")
        assert next(hanging) == b"figs"
        assert discovery.statistics("orders").outstanding == 1
        hanging.cancel()
        wait_until(lambda: discovery.statistics("orders").outstanding == 0, "all have ended")


async def test_streams_and_readiness_of_asyncio(instances: Instances) -> None:
    async with (
        AsyncDiscovery(**instances.server.place) as discovery,
        for_asyncio.channel(TARGET, discovery) as channel,
    ):
        async with asyncio.timeout(SECONDS_MAX):
            await channel.channel_ready()
        assert [each async for each in channel.unary_stream(LIST)(b"figs")] == [b"figs"]
        call = channel.unary_unary(ASK)(b"figs")
        assert await call == b"figs"
        assert await call.code() is grpc.StatusCode.OK
        for stock in instances.stocks:
            stock.plan.append(HANG)
        hanging = asyncio.ensure_future(channel.unary_unary(ASK)(b"figs").code())
        async with asyncio.timeout(SECONDS_MAX):
            while sum(instances.counts()) < 3:
                await asyncio.sleep(0.001)
            assert discovery.statistics("orders").outstanding == 1
            hanging.cancel()
            while discovery.statistics("orders").outstanding:
                await asyncio.sleep(0.001)


def test_channels_of_instances_that_left_are_closed(instances: Instances) -> None:
    with (
        Discovery(**instances.server.place) as discovery,
        for_threads.channel(TARGET, discovery) as channel,
    ):
        ask = channel.unary_unary(ASK)
        while min(instances.counts()) == 0:
            ask(b"figs", timeout=SECONDS_MAX)
        instances.server.remove(instance("i0", instances.ports[0]))
        wait_until(lambda: len(discovery.instances("orders")) == 1, "it left")
        before = instances.counts()[0]
        for _ in range(20):
            ask(b"figs", timeout=SECONDS_MAX)
        assert instances.counts()[0] == before


@pytest.mark.parametrize("target", ["moreton:///orders", "orders", "moreton:orders", "//orders"])
def test_target_names_a_service(target: str) -> None:
    assert service_of_target(target) == "orders"


@pytest.mark.parametrize("target", ["", "moreton:///", "dns:///orders:80", "orders:80", "a/b"])
def test_target_of_another_resolver_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="names no service"):
        service_of_target(target)
