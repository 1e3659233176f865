"""One client asks for twenty times what it may, and fifty others ask as they should."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from moreton.config.words import read_path
from moreton.gateway.compile import GatewayCompiler
from moreton.gateway.core.model import Address, Gateway, Listener, Redirect, Route, RouteMatch
from moreton.kernel.quantities import parse_rate
from moreton.ratelimit.core.rules.bounds import RateBound
from moreton.ratelimit.core.rules.values import LimitRule, Part, Trait
from support.flooder import one
from support.static_envoy import StaticEnvoy, static_envoy

pytestmark = pytest.mark.e2e

RATE = 20
BURST = 20
CLIENTS = 50
# What each of them asks a second: a fifth of what it may.
PACE = 4.0
FLOOD = 20 * RATE
FLOODER = "127.0.2.1"


@pytest.fixture(scope="module")
def envoy() -> Iterator[StaticEnvoy]:
    compiler = GatewayCompiler()
    compiler.put_gateway(Gateway("public", (Listener(Address("127.0.0.1", 0)),)))
    # The proxy answers by itself: what is measured is the proxy.
    match = RouteMatch(read_path("/*"))
    compiler.put_route(Route("all", match, redirect=Redirect(302, path="/elsewhere")))
    bound = RateBound(parse_rate(f"{RATE}/s"), BURST)
    compiler.put_limit(LimitRule("each", (bound,), by=(Part(Trait.ADDRESS),)))
    changed, _ = compiler.take()
    with static_envoy(changed) as envoy:
        yield envoy


@dataclass
class Heard:
    """What the well-behaved were answered, and after how long."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    @property
    def p99(self) -> float:
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)]


async def behave(port: int, number: int, seconds: float, heard: Heard) -> None:
    clock = asyncio.get_running_loop()
    source = f"127.0.1.{number + 1}"
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    start = clock.time()
    turns = max(1, int(seconds * PACE))
    for turn in range(turns):
        due = start + (turn + number / CLIENTS) / PACE
        await asyncio.sleep(max(0.0, due - clock.time()))
        asked = clock.time()
        heard.statuses[await one(reader, writer)] += 1
        heard.seconds.append(clock.time() - asked)
    writer.close()


async def fifty(port: int, seconds: float) -> Heard:
    heard = Heard()
    await asyncio.gather(*(behave(port, number, seconds, heard) for number in range(CLIENTS)))
    return heard


def phase(envoy: StaticEnvoy, seconds: float, *, flooded: bool) -> tuple[Heard, Counter[int]]:
    """What fifty heard, and what the flooder did, who is a process of its own."""
    port = envoy.ports["public/0"]
    if not flooded:
        return asyncio.run(fifty(port, seconds)), Counter()
    command = [sys.executable, "-m", "support.flooder", str(port), FLOODER]
    with subprocess.Popen(
        [*command, str(FLOOD), str(seconds)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as flooder:
        heard = asyncio.run(fifty(port, seconds))
        told, _ = flooder.communicate(timeout=30)
    return heard, Counter({int(status): count for status, count in json.loads(told).items()})


def test_flood_of_one_client_refuses_none_of_fifty_others(envoy: StaticEnvoy) -> None:
    heard, flooder = phase(envoy, 1.0, flooded=True)
    assert set(heard.statuses) == {302}
    # The flood happened: most of it was refused, and no more passed than the limit says.
    assert flooder[429] > flooder[302]
    assert BURST <= flooder[302] <= BURST + 3 * RATE


@pytest.mark.soak
def test_flood_of_one_client_makes_none_of_fifty_others_wait(envoy: StaticEnvoy) -> None:
    quiet, flooded = [], []
    for _ in range(6):
        quiet.append(phase(envoy, 3.0, flooded=False)[0].p99)
        heard, flooder = phase(envoy, 3.0, flooded=True)
        assert set(heard.statuses) == {302}
        assert flooder[429] > 2 * FLOOD
        flooded.append(heard.p99)
    assert statistics.median(flooded) <= 1.5 * statistics.median(quiet)
