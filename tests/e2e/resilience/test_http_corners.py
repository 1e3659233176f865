"""What HTTP clients make of rarer answers, bodies and errors, against a real server."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
from urllib3.util import Timeout as UrllibTimeout

from moreton.resilience import (
    Backoff,
    BreakerPolicy,
    CircuitBreaker,
    Fallback,
    Hedge,
    Policy,
    Retry,
    Timeout,
    TotalTimeout,
)
from moreton.resilience.clients import httpx as for_httpx
from moreton.resilience.clients.aiohttp import ResilientMiddleware
from moreton.resilience.clients.requests import ResilientAdapter
from moreton.resilience.context import deadline, idempotent, idempotent_var
from moreton.resilience.errors import CircuitOpen, DeadlineExceeded
from support.flaky import HANG, RESET, Answer, FlakyServer
from support.ports import free_port
from support.resilient_clients import CLIENTS

pytestmark = pytest.mark.e2e
BUSY = Answer(503, body=b"busy")
PROBLEM = (("content-type", "application/problem+json"),)
SOON = Backoff.constant(timedelta(milliseconds=1))
SHORT = timedelta(milliseconds=200)
Ask = Callable[..., tuple[int, bytes]]
# What each library calls trouble of the connection, and trouble of time.
ERRORS: dict[str, tuple[type[Exception], type[Exception]]] = {
    "httpx": (httpx.TransportError, httpx.TimeoutException),
    "httpx-async": (httpx.TransportError, httpx.TimeoutException),
    "httpx2": (httpx2.TransportError, httpx2.TimeoutException),
    "httpx2-async": (httpx2.TransportError, httpx2.TimeoutException),
    "requests": (requests.ConnectionError, requests.Timeout),
    "aiohttp": (aiohttp.ClientConnectionError, aiohttp.ServerTimeoutError),
}


@pytest.fixture
def server() -> Iterator[FlakyServer]:
    with FlakyServer() as made:
        yield made


@pytest.fixture(params=CLIENTS)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ask(library: str) -> Ask:
    return CLIENTS[library]


def retrying(*inner: Any) -> Policy:
    return Policy(TotalTimeout(timedelta(seconds=20)), Retry(attempts=3, backoff=SOON), *inner)


def test_limit_of_the_callers_is_retried_and_no_fault(ask: Ask, server: FlakyServer) -> None:
    server.will(Answer(429))
    breaker = CircuitBreaker()
    assert ask(retrying(breaker), "GET", server.url)[0] == 200
    assert len(server.seen) == 2
    assert breaker.statistics().failed == 0


def test_problem_says_when_to_return(ask: Ask, server: FlakyServer) -> None:
    body = b'{"title": "busy", "retry_after": 3600}'
    server.will(Answer(503, PROBLEM, body))
    assert ask(retrying(), "GET", server.url) == (503, body)
    assert len(server.seen) == 1


def test_problem_that_says_nothing_is_handed_on(ask: Ask, server: FlakyServer) -> None:
    server.will(*[Answer(503, PROBLEM, b"{")] * 3)
    assert ask(retrying(), "GET", server.url) == (503, b"{")
    assert len(server.seen) == 3


def test_limit_between_sending_and_answer_is_an_error_of_the_library(
    ask: Ask, library: str, server: FlakyServer
) -> None:
    server.will(HANG)
    with pytest.raises(DeadlineExceeded) as caught:
        ask(Policy(Timeout(SHORT)), "GET", server.url)
    assert isinstance(caught.value, ERRORS[library][1])
    assert len(server.seen) == 1


def test_deadline_of_the_caller_holds_without_a_policy_for_it(
    ask: Ask, library: str, server: FlakyServer
) -> None:
    server.will(HANG)
    # Long enough for a client to be made within it.
    with deadline(timedelta(seconds=1)), pytest.raises(DeadlineExceeded) as caught:
        ask(Policy(Retry(attempts=3, backoff=SOON)), "GET", server.url)
    assert isinstance(caught.value, ERRORS[library][1])
    assert len(server.seen) == 1


def test_nothing_is_sent_after_the_deadline(ask: Ask, server: FlakyServer) -> None:
    with deadline(timedelta(0)), pytest.raises(DeadlineExceeded):
        ask(Policy(CircuitBreaker()), "GET", server.url)
    assert not server.seen


def test_open_breaker_is_an_error_of_the_library(ask: Ask, library: str) -> None:
    breaker = CircuitBreaker(BreakerPolicy(minimum_calls=1), name="stock")
    breaker.open()
    with pytest.raises(CircuitOpen, match='"stock" is open') as caught:
        ask(Policy(breaker), "GET", f"http://127.0.0.1:{free_port()}/")
    assert isinstance(caught.value, ERRORS[library][0])
    assert caught.value.retry_in > timedelta(0)


def test_post_within_idempotent_is_tried_again(ask: Ask, server: FlakyServer) -> None:
    server.will(BUSY, RESET)
    with idempotent():
        assert ask(retrying(), "POST", server.url, b"pay") == (200, b"well")
    assert [one.body for one in server.seen] == [b"pay"] * 3


def test_generator_that_was_not_touched_is_tried_again(ask: Ask) -> None:
    retry = Retry(attempts=3, backoff=SOON)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of six libraries
        ask(Policy(retry), "PUT", f"http://127.0.0.1:{free_port()}/", [b"one"])
    assert not isinstance(caught.value, DeadlineExceeded)
    statistics = retry.statistics()
    assert statistics is not None
    assert statistics.retries == 2


def test_body_that_fails_by_itself_is_not_sent_again(ask: Ask, server: FlakyServer) -> None:
    class Broken(list[bytes]):
        def __iter__(self) -> Iterator[bytes]:
            yield b"one"
            raise ConnectionRefusedError("of a service that the body comes from")

    with pytest.raises(Exception):  # noqa: B017, PT011 - of six libraries
        ask(retrying(), "PUT", server.url, Broken())
    assert len(server.seen) == 0


# aiohttp has a limit of its own for pauses, sock_read.
@pytest.mark.parametrize("library", [library for library in CLIENTS if library != "aiohttp"])
def test_pause_in_a_body_ends_in_time(ask: Ask, library: str, server: FlakyServer) -> None:
    server.will(Answer(body=b"a long story", stall=True))
    with pytest.raises((OSError, *ERRORS[library])):
        ask(Policy(Timeout(SHORT)), "GET", server.url)
    assert len(server.seen) == 1


def test_statuses_are_the_callers_choice(server: FlakyServer) -> None:
    breaker = CircuitBreaker()
    transport = for_httpx.ResilientTransport(retrying(breaker), retry_on={409}, failures={500, 409})
    server.will(Answer(409), Answer(500), Answer(503))
    with httpx.Client(transport=transport) as client:
        assert client.get(server.url).status_code == 500
        assert client.get(server.url).status_code == 503
    assert len(server.seen) == 3
    assert breaker.statistics().failed == 2


def test_each_destination_has_its_own_policy(server: FlakyServer) -> None:
    made: dict[str, Policy] = {}

    def make(destination: str) -> Policy:
        made[destination] = Policy(CircuitBreaker(BreakerPolicy(minimum_calls=1)))
        return made[destination]

    with (
        FlakyServer() as other,
        httpx.Client(transport=for_httpx.ResilientTransport(make)) as client,
    ):
        server.will(BUSY)
        assert client.get(server.url).status_code == 503
        with pytest.raises(CircuitOpen):
            client.get(server.url)
        assert client.get(other.url).status_code == 200
        assert list(made) == [server.url[:-1], other.url[:-1]]


def test_request_is_as_good_as_new_after_it_was_sent(server: FlakyServer) -> None:
    server.will(RESET)
    policy = Policy(Retry(attempts=2, backoff=SOON), Timeout(timedelta(seconds=5)))
    with httpx.Client(transport=for_httpx.ResilientTransport(policy), timeout=30) as client:
        request = client.build_request("PUT", server.url, content=b"x")
        before = dict(request.headers), dict(request.extensions), request.stream
        client.send(request)
        assert (dict(request.headers), dict(request.extensions), request.stream) == before


def test_application_in_the_same_process_decides_for_itself() -> None:
    seen: list[bool] = []

    def application(_: Any, start: Any) -> list[bytes]:
        seen.append(idempotent_var.get())
        start("200 OK", [])
        return [b""]

    transport = for_httpx.ResilientTransport(retrying(), httpx.WSGITransport(application))
    with httpx.Client(transport=transport, base_url="http://shop.test") as client:
        client.get("/")
    assert seen == [False]


def test_fallback_leaves_no_answer_open(server: FlakyServer) -> None:
    server.will(Answer(503, (("content-type", "text/html"),), b"busy"))
    fallback = Fallback(lambda _: httpx.Response(200, content=b"from the cache"))
    inner = httpx.HTTPTransport(limits=httpx.Limits(max_connections=1))
    policy = Policy(fallback, CircuitBreaker())
    with httpx.Client(transport=for_httpx.ResilientTransport(policy, inner)) as client:
        assert client.get(server.url).content == b"from the cache"
        # Refused with `PoolTimeout` if the 503 still held the connection.
        assert client.get(server.url, timeout=5).content == b"well"


async def test_hedge_hands_on_one_answer_and_closes_the_others(server: FlakyServer) -> None:
    server.will(HANG, Answer(body=b"second"), HANG, HANG)
    policy = Policy(Hedge(timedelta(milliseconds=50), idempotent=True))
    inner = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=2))
    transport = for_httpx.AsyncResilientTransport(policy, inner)
    async with httpx.AsyncClient(transport=transport) as client:
        assert (await client.get(server.url)).content == b"second"
        assert len(server.seen) == 2
        server.plan.clear()
        # Both connections are free again.
        answers = await asyncio.gather(client.get(server.url), client.get(server.url))
        assert [one.content for one in answers] == [b"well"] * 2


def test_limits_of_urllib3_are_kept(server: FlakyServer) -> None:
    server.will(HANG)
    begun = time.monotonic()
    with requests.Session() as session:
        session.mount("http://", ResilientAdapter(Policy(Timeout(timedelta(seconds=60)))))
        limits: Any = UrllibTimeout(connect=5, read=0.1)  # requests takes it, its stubs do not
        with pytest.raises(requests.ReadTimeout) as caught:
            session.get(server.url, timeout=limits)
    assert not isinstance(caught.value, DeadlineExceeded)
    assert time.monotonic() - begun < 60


def test_retries_of_urllib3_beside_a_policy_are_refused() -> None:
    with pytest.raises(ValueError, match="would repeat each attempt"):
        ResilientAdapter(retrying(), max_retries=3)


def test_requests_winds_files_back(server: FlakyServer) -> None:
    server.will(RESET, BUSY)
    file = io.BytesIO(b"skipped and sent")
    file.seek(len(b"skipped and "))
    with requests.Session() as session:
        session.mount("http://", ResilientAdapter(retrying()))
        assert session.put(server.url, data=file).status_code == 200
    assert [one.body for one in server.seen] == [b"sent"] * 3


async def test_aiohttp_winds_files_back(server: FlakyServer) -> None:
    server.will(RESET, BUSY)
    middleware = ResilientMiddleware(retrying())
    # An answer that is neither read nor left is collected one day, with a warning in whatever runs
    # then; its body may or may not have come with its header fields.
    async with (
        aiohttp.ClientSession(middlewares=(middleware,)) as session,
        session.put(server.url, data=io.BytesIO(b"sent")) as answer,
    ):
        assert answer.status == 200
    assert [one.body for one in server.seen] == [b"sent"] * 3


async def test_problem_is_streamed_from_aiohttp(server: FlakyServer) -> None:
    server.will(Answer(503, PROBLEM, b'{"retry_after": 3600}'))
    middleware = ResilientMiddleware(retrying())
    async with (
        aiohttp.ClientSession(middlewares=(middleware,)) as session,
        session.get(server.url) as answer,
    ):
        assert [part async for part in answer.content] == [b'{"retry_after": 3600}']
        assert await answer.json(content_type=None) == {"retry_after": 3600}
