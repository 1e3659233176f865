"""`http://orders.moreton/` goes to an instance of orders through each HTTP client."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import aiohttp
import httpx
import pytest
import requests

from e2e.discovery.world import PushingServer, instance
from moreton.registry import Instance, InstanceId
from moreton.registry.discovery import AsyncDiscovery, Discovery, NoInstance
from moreton.registry.discovery.clients.aiohttp import DiscoveryMiddleware
from moreton.registry.discovery.clients.httpx import AsyncDiscoveryTransport, DiscoveryTransport
from moreton.registry.discovery.clients.requests import DiscoveryAdapter
from moreton.resilience import Backoff, BreakerPolicy, CircuitBreaker, Hedge, Policy, Retry
from moreton.resilience.errors import CircuitOpen
from support.discovering_clients import CLIENTS, ERRORS, Ask
from support.flaky import HANG, RESET, Answer, FlakyServer
from support.ports import free_port
from support.resilient_clients import BREAKS
from support.waits import join_all, wait_until

pytestmark = pytest.mark.e2e

URL = "http://orders.moreton/stock?of=figs"
BUSY = Answer(503, body=b"busy")
# More than is read within an attempt.
LONG = b"figs " * 20_000
SOON = Backoff.constant(timedelta(milliseconds=1))


@pytest.fixture
def one() -> Iterator[FlakyServer]:
    with FlakyServer() as made:
        yield made


@pytest.fixture
def two() -> Iterator[FlakyServer]:
    with FlakyServer() as made:
        yield made


@pytest.fixture(params=CLIENTS)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ask(library: str) -> Ask:
    return CLIENTS[library]


def test_request_goes_to_an_instance_under_the_name_of_its_service(
    ask: Ask, server: PushingServer, one: FlakyServer
) -> None:
    server.put(instance("a", one.port))
    other = "http://orders.service.moreton:1/"
    assert ask(server.place, URL, other) == [(200, b"well")] * 2
    first, second = one.seen
    assert (first.path, first.headers["host"]) == ("/stock?of=figs", "orders.moreton")
    assert second.headers["host"] == "orders.service.moreton:1"
    assert first.headers["x-moreton-attempt"] == "1"


def test_other_hosts_are_asked_as_ever(ask: Ask, server: PushingServer, one: FlakyServer) -> None:
    one.will(BUSY)
    assert ask(server.place, one.url) == [(200, b"well")]
    assert server.requests == [], "nobody was asked for it"


def test_attempts_go_to_one_instance_after_the_other(
    ask: Ask, server: PushingServer, one: FlakyServer, two: FlakyServer
) -> None:
    server.put(instance("a", one.port), instance("b", two.port))
    one.will(*[RESET] * 20)
    assert ask(server.place, *[URL] * 9) == [(200, b"well")] * 9
    assert len(two.seen) == 9
    # Left alone after three in a row; aiohttp sends each of them twice by itself.
    assert len(one.seen) <= 6


def test_answer_that_breaks_off_is_asked_for_elsewhere(
    ask: Ask, server: PushingServer, one: FlakyServer, two: FlakyServer
) -> None:
    server.put(instance("a", one.port), instance("b", two.port))
    one.will(*[Answer(body=b"a story", cut=True)] * 20)
    rounds = 0
    while not one.seen and rounds < 20:  # which of the two is asked is chance
        assert ask(server.place, *[URL] * 9) == [(200, b"well")] * 9
        rounds += 1
    assert len(two.seen) == 9 * rounds
    assert 1 <= len(one.seen) <= 6


def test_long_answer_that_breaks_off_reaches_the_reader(
    ask: Ask, server: PushingServer, one: FlakyServer
) -> None:
    server.put(instance("a", one.port))
    one.will(Answer(body=LONG), Answer(body=LONG, cut=True))
    with pytest.raises(BREAKS):
        ask(server.place, URL, URL)
    assert len(one.seen) == 2


def test_closed_port_costs_no_request(ask: Ask, server: PushingServer, one: FlakyServer) -> None:
    server.put(instance("a", one.port))
    server.put(*(instance(f"gone-{n}", free_port()) for n in range(3)))
    answers = ask(server.place, *[URL] * 10, method="POST")
    assert answers == [(200, b"well")] * 10, "nothing was sent to those: also a POST may go on"
    assert len(one.seen) == 10


def test_post_that_may_have_been_taken_is_not_sent_again(
    ask: Ask, server: PushingServer, one: FlakyServer, two: FlakyServer
) -> None:
    server.put(instance("a", one.port), instance("b", two.port))
    for each in (one, two):
        each.will(RESET)
    with pytest.raises(BREAKS):
        ask(server.place, URL, method="POST")
    assert len(one.seen) + len(two.seen) == 1


def test_service_without_an_instance_is_an_error_of_the_library(
    ask: Ask, library: str, server: PushingServer
) -> None:
    with pytest.raises(NoInstance, match="none is registered") as caught:
        ask(server.place, URL)
    assert isinstance(caught.value, ERRORS[library])


def test_policy_is_one_for_the_whole_service(
    ask: Ask, server: PushingServer, one: FlakyServer, two: FlakyServer
) -> None:
    server.put(instance("a", one.port), instance("b", two.port))
    made: dict[str, Policy] = {}

    def make(destination: str) -> Policy:
        made[destination] = Policy(CircuitBreaker(BreakerPolicy(minimum_calls=2)))
        return made[destination]

    for each in (one, two):
        each.will(*[BUSY] * 4)
    with pytest.raises(CircuitOpen):
        ask(server.place, *["http://orders.moreton/"] * 5, policies=make)
    assert list(made) == ["http://orders.moreton:80"]
    assert len(one.seen) + len(two.seen) == 2


def test_instance_that_registers_or_leaves_is_taken_up_while_a_client_lives(
    server: PushingServer, one: FlakyServer, two: FlakyServer
) -> None:
    server.put(instance("a", one.port))
    with (
        Discovery(**server.place) as discovery,
        httpx.Client(transport=DiscoveryTransport(discovery)) as client,
    ):
        client.get(URL)
        server.put(instance("b", two.port))
        server.remove(instance("a", one.port))
        wait_until(lambda: (client.get(URL).is_success and two.seen) or None, "b is asked")
        before = len(one.seen)
        for _ in range(5):
            client.get(URL)
        assert len(one.seen) == before


def test_request_is_under_way_until_its_body_was_read(
    server: PushingServer, one: FlakyServer
) -> None:
    server.put(instance("a", one.port))

    def under_way(discovery: Discovery) -> int:
        return discovery.statistics("orders").outstanding

    with (
        Discovery(**server.place) as discovery,
        httpx.Client(transport=DiscoveryTransport(discovery)) as client,
        requests.Session() as session,
    ):
        session.mount("http://", DiscoveryAdapter(discovery))
        one.will(Answer(body=LONG), Answer(body=LONG))
        with client.stream("GET", URL) as answer:
            assert under_way(discovery) == 1
            answer.read()
            assert under_way(discovery) == 0
        with session.get(URL, stream=True) as answer_of_requests:
            assert under_way(discovery) == 1
            assert answer_of_requests.content == LONG
            assert under_way(discovery) == 0
        one.will(Answer(body=LONG, stall=True))
        with session.get(URL, stream=True):
            assert under_way(discovery) == 1
        assert under_way(discovery) == 0


async def test_aiohttp_counts_and_counts_down(server: PushingServer, one: FlakyServer) -> None:
    await asyncio.to_thread(server.put, instance("a", one.port))
    one.will(Answer(body=LONG, stall=True), RESET, HANG)
    async with AsyncDiscovery(**server.place) as discovery:
        policy = Policy(CircuitBreaker())
        middleware = DiscoveryMiddleware(discovery, policy)
        async with aiohttp.ClientSession(middlewares=(middleware,)) as session:
            async with session.get(URL):
                assert discovery.statistics("orders").outstanding == 1
            with pytest.raises(aiohttp.ClientError):
                await session.post(URL)  # a GET is tried again by aiohttp itself
            hanging = asyncio.ensure_future(session.get(URL))
            while len(one.seen) < 3:
                await asyncio.sleep(0.001)
            hanging.cancel()
            with pytest.raises(asyncio.CancelledError):
                await hanging
            async with session.get(URL) as answer:
                assert await answer.read() == b"well"
        assert discovery.statistics("orders").outstanding == 0


@pytest.mark.parametrize("kind", ["httpx", "aiohttp"])
async def test_hedged_request_goes_to_two_instances(
    server: PushingServer, one: FlakyServer, two: FlakyServer, kind: str
) -> None:
    await asyncio.to_thread(server.put, instance("a", one.port), instance("b", two.port))
    one.will(HANG)
    two.will(HANG)
    policy = Policy(
        Retry(attempts=3, backoff=SOON), Hedge(timedelta(milliseconds=20), idempotent=True)
    )
    async with AsyncDiscovery(**server.place) as discovery:

        async def ask() -> Any:
            if kind == "aiohttp":
                middleware = DiscoveryMiddleware(discovery, policy)
                async with aiohttp.ClientSession(middlewares=(middleware,)) as session:
                    await session.get(URL)
            else:
                transport = AsyncDiscoveryTransport(discovery, policy)
                async with httpx.AsyncClient(transport=transport) as client:
                    await client.get(URL)

        asking = asyncio.ensure_future(ask())
        while not (one.seen and two.seen):
            await asyncio.sleep(0.001)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert (len(one.seen), len(two.seen)) == (1, 1)


def test_clients_share_what_may_be_retried_at_a_service(
    server: PushingServer, one: FlakyServer
) -> None:
    server.put(instance("a", one.port))
    one.will(*[BUSY] * 8)
    with (
        Discovery(**server.place) as discovery,
        httpx.Client(transport=DiscoveryTransport(discovery)) as client,
        requests.Session() as session,
    ):
        session.mount("http://", DiscoveryAdapter(discovery))
        assert client.get(URL).status_code == 503
        assert session.get(URL).status_code == 503
        assert discovery.budget("orders").statistics().retries == 6
        assert len(one.seen) == 8


class SixServer(ThreadingHTTPServer):
    address_family = socket.AF_INET6


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "4")
        self.end_headers()
        self.wfile.write(b"well")

    def log_message(self, *_: object) -> None:
        pass


def test_instance_may_have_an_ipv6_address(ask: Ask, server: PushingServer) -> None:
    with SixServer(("::1", 0), Handler) as six:
        thread = threading.Thread(target=six.serve_forever, args=(0.01,))
        thread.start()
        try:
            port = six.server_address[1]
            server.put(Instance(InstanceId("six"), "orders", "::1", port))
            assert ask(server.place, URL) == [(200, b"well")]
        finally:
            six.shutdown()
            join_all([thread])


def test_clients_of_threads_and_of_asyncio_are_told_apart(server: PushingServer) -> None:
    with Discovery(**server.place) as discovery:
        wrong: Any = discovery
        with pytest.raises(TypeError, match="give a AsyncDiscovery"):
            AsyncDiscoveryTransport(wrong)
        with pytest.raises(TypeError, match="AsyncDiscovery"):
            DiscoveryMiddleware(wrong)
        with pytest.raises(TypeError, match="policies is"):
            DiscoveryTransport(discovery, Retry())  # type: ignore[arg-type]
