"""Clients wait their turn, learn what a server asks for, and use nearly all that it allows."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests

from moreton.ratelimit import Gcra, LeakyBucket, Limiter, LocalLimiter, RateLimited
from moreton.ratelimit.clients import aiohttp as for_aiohttp
from moreton.ratelimit.clients import httpx as for_httpx
from moreton.ratelimit.clients import httpx2 as for_httpx2
from moreton.ratelimit.clients import requests as for_requests
from moreton.ratelimit.errors import HeldBack
from moreton.resilience import Policy, Retry
from moreton.resilience.clients.httpx import ResilientTransport
from support.flaky import Answer, FlakyServer
from support.manual_clock import ManualClock
from support.waits import line_of

pytestmark = pytest.mark.e2e
SUPPORT = Path(__file__).parents[2] / "support"
Ask = Callable[[Limiter, str, int, timedelta], list[int]]
WAIT = timedelta(seconds=10)


def _httpx(library: Any, module: Any) -> Ask:
    def ask(limiter: Limiter, url: str, count: int, wait: timedelta) -> list[int]:
        transport = module.PacedTransport(limiter, wait=wait)
        with library.Client(transport=transport) as client:
            return [client.get(url).status_code for _ in range(count)]

    return ask


def _httpx_async(library: Any, module: Any) -> Ask:
    async def asking(limiter: Limiter, url: str, count: int, wait: timedelta) -> list[int]:
        transport = module.AsyncPacedTransport(limiter, wait=wait)
        async with library.AsyncClient(transport=transport) as client:
            return [(await client.get(url)).status_code for _ in range(count)]

    return lambda *arguments: asyncio.run(asking(*arguments))


def _requests(limiter: Limiter, url: str, count: int, wait: timedelta) -> list[int]:
    with requests.Session() as session:
        session.mount("http://", for_requests.PacedAdapter(limiter, wait=wait))
        return [session.get(url).status_code for _ in range(count)]


def _aiohttp(limiter: Limiter, url: str, count: int, wait: timedelta) -> list[int]:
    async def asking() -> list[int]:
        middleware = for_aiohttp.PacedMiddleware(limiter, wait=wait)
        async with aiohttp.ClientSession(middlewares=(middleware,)) as session:
            found = []
            for _ in range(count):
                async with session.get(url) as answer:
                    found.append(answer.status)
            return found

    return asyncio.run(asking())


CLIENTS: dict[str, tuple[Ask, type[Exception]]] = {
    "httpx": (_httpx(httpx, for_httpx), httpx.TransportError),
    "httpx async": (_httpx_async(httpx, for_httpx), httpx.TransportError),
    "httpx2": (_httpx(httpx2, for_httpx2), httpx2.TransportError),
    "httpx2 async": (_httpx_async(httpx2, for_httpx2), httpx2.TransportError),
    "requests": (_requests, requests.ConnectionError),
    "aiohttp": (_aiohttp, aiohttp.ClientConnectionError),
}


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> tuple[Ask, type[Exception]]:
    return CLIENTS[request.param]


def test_calls_wait_their_turn(client: tuple[Ask, type[Exception]]) -> None:
    ask, _ = client
    clock = ManualClock()
    limiter = LocalLimiter(Gcra("4/s", burst=1), clock=clock)
    with FlakyServer() as server:
        assert ask(limiter, f"http://127.0.0.1:{server.port}/", 3, WAIT) == [200] * 3
    assert clock.slept == [0.25, 0.25]


def test_a_turn_that_is_too_late_is_an_error_of_the_library(
    client: tuple[Ask, type[Exception]],
) -> None:
    ask, error = client
    limiter = LocalLimiter(Gcra("1/h"), clock=ManualClock())
    with FlakyServer() as server:
        url = f"http://127.0.0.1:{server.port}/"
        with pytest.raises(error) as told:
            ask(limiter, url, 2, WAIT)
        assert isinstance(told.value, RateLimited)
        assert told.value.retry_in == timedelta(hours=1) - WAIT
        assert len(server.seen) == 1


IN_TIME = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (Answer(429, (("Retry-After", "7"),)), 7),
        (Answer(503, (("Retry-After", "7"),)), 7),
        (Answer(200, (("RateLimit", '"day";r=0;t=7'),)), 7),
        (Answer(200, (("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "7"))), 7),
        # Nobody is believed for longer than five minutes.
        (Answer(429, (("Retry-After", IN_TIME),)), 300),
        (Answer(200, (("RateLimit", '"day";r=5;t=7'),)), 0),
        (Answer(200, (("Retry-After", "7"),)), 0),
    ],
)
def test_what_a_server_asks_for_is_done(
    client: tuple[Ask, type[Exception]], answer: Answer, seconds: int
) -> None:
    ask, _ = client
    clock = ManualClock()
    limiter = LocalLimiter(LeakyBucket("1000/s", queue=10), clock=clock)
    with FlakyServer() as server:
        server.plan.append(answer)
        url = f"http://127.0.0.1:{server.port}/"
        assert ask(limiter, url, 2, timedelta(hours=1)) == [answer.status, 200]
    assert sum(clock.slept) == pytest.approx(seconds, abs=0.01)


def test_a_pause_holds_wherever_the_limiter_is_shared() -> None:
    clock = ManualClock()
    limiter = LocalLimiter(Gcra("50/s", burst=1), clock=clock)
    ask, _ = CLIENTS["httpx"]
    with FlakyServer() as server:
        server.plan.append(Answer(429, (("Retry-After", "7"),)))
        url = f"http://127.0.0.1:{server.port}/"
        assert ask(limiter, url, 1, WAIT) == [429]
        # Another client, which was told nothing.
        assert ask(limiter, url, 1, WAIT) == [200]
    assert sum(clock.slept) == pytest.approx(7, abs=0.03)


def test_a_pause_that_is_too_long_is_told_at_once() -> None:
    clock = ManualClock()
    limiter = LocalLimiter(Gcra("50/s"), clock=clock)
    transport = for_httpx.PacedTransport(limiter, wait=timedelta(seconds=2))
    with FlakyServer() as server, httpx.Client(transport=transport) as client:
        server.plan.append(Answer(429, (("Retry-After", "60"),)))
        url = f"http://127.0.0.1:{server.port}/"
        assert client.get(url).status_code == 429
        with pytest.raises(httpx.TransportError, match="to be left alone for 60 s") as told:
            client.get(url)
        assert isinstance(told.value, HeldBack)
        assert told.value.retry_in == timedelta(seconds=60)


def test_each_attempt_of_a_retry_waits_for_a_turn() -> None:
    clock = ManualClock()
    paced = for_httpx.PacedTransport(LocalLimiter(Gcra("1/s", burst=1), clock=clock))
    policy = Policy(Retry(attempts=3, idempotent=True, backoff=None, budget=None))
    with (
        FlakyServer() as server,
        httpx.Client(transport=ResilientTransport(policy, paced)) as client,
    ):
        server.plan.extend([Answer(502), Answer(502)])
        assert client.get(f"http://127.0.0.1:{server.port}/").status_code == 200
        assert len(server.seen) == 3
    assert sum(clock.slept) == 2


def call_third_party(folder: Path, seconds: float, processes: int = 4, tasks: int = 50) -> Any:
    party = subprocess.Popen(
        [sys.executable, str(SUPPORT / "third_party.py"), "50"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    port = line_of(party.stdout, "its port").strip()
    arguments = [str(folder / "limits"), port, str(tasks), str(seconds)]
    command = [sys.executable, str(SUPPORT / "paced_caller.py"), *arguments]
    callers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    got = sum(int(caller.communicate(timeout=seconds + 60)[0]) for caller in callers)
    told = json.loads(party.communicate("", timeout=10)[0])
    assert len(told["accepted"]) == got
    return told


def used(told: Any, seconds: int) -> float:
    """The share of 50 a second that was used while all were calling."""
    began = told["accepted"][0] + 1
    inner = [moment for moment in told["accepted"] if began <= moment < began + seconds]
    return len(inner) / seconds / 50


def test_a_third_party_has_to_refuse_nothing(tmp_path: Path) -> None:
    told = call_third_party(tmp_path, 2, processes=2, tasks=20)
    assert told["refused"] == 0
    assert len(told["accepted"]) > 50


@pytest.mark.soak
def test_a_third_party_refuses_nothing_and_nearly_all_that_it_allows_is_used(
    tmp_path: Path,
) -> None:
    told = call_third_party(tmp_path, 20)
    assert told["refused"] == 0
    assert used(told, 15) >= 0.97
