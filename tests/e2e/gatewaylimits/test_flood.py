"""One client asks for twenty times what it may, and fifty others ask as they should."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from moreton.config.words import read_path
from moreton.gateway.compile import GatewayCompiler
from moreton.gateway.core.model import Address, Gateway, Listener, Redirect, Route, RouteMatch
from moreton.kernel.quantities import parse_rate
from moreton.ratelimit.core.rules.bounds import RateBound
from moreton.ratelimit.core.rules.values import LimitRule, Part, Trait
from support.static_envoy import StaticEnvoy, static_envoy

pytestmark = pytest.mark.e2e

RATE = 20
BURST = 20
CLIENTS = 50
# What each of them asks a second: a fifth of what it may.
PACE = 4.0
FLOOD = 20 * RATE
FLOODER = "127.0.2.1"


@contextlib.contextmanager
def on_core(number: int) -> Iterator[None]:
    """What starts meanwhile runs on that of our cores: who asks does not hold up who answers."""
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(ours)[number % len(ours)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, ours)


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
    with contextlib.ExitStack() as stack:
        with on_core(0):
            made = stack.enter_context(static_envoy(changed))
        yield made


@dataclass
class Heard:
    """What clients were answered, and what all but one in a hundred waited at most."""

    statuses: Counter[int]
    p99: float = 0.0


@contextlib.contextmanager
def asking(module: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """Clients in a process of their own, of which a collector of garbage holds up nobody."""
    command = [sys.executable, "-m", f"support.{module}", *map(str, arguments)]
    tests = Path(__file__).parents[2]
    with on_core(1), subprocess.Popen(command, stdout=subprocess.PIPE, cwd=tests) as child:
        try:
            yield child
        finally:
            child.kill()


def told(child: subprocess.Popen[bytes], seconds: float) -> dict[str, float]:
    said, _ = child.communicate(timeout=seconds + 60)
    found: dict[str, float] = json.loads(said)
    return found


def phase(envoy: StaticEnvoy, seconds: float, *, flooded: bool) -> tuple[Heard, Counter[int]]:
    """What fifty heard, and what the flooder."""
    port = envoy.ports["public/0"]
    flooder: Counter[int] = Counter()
    with contextlib.ExitStack() as stack:
        if flooded:
            flood = stack.enter_context(asking("flooder", port, FLOODER, FLOOD, seconds))
        fifty = told(stack.enter_context(asking("behaved", port, CLIENTS, PACE, seconds)), seconds)
        if flooded:
            flooder.update({int(status): int(n) for status, n in told(flood, seconds).items()})
    p99 = fifty.pop("p99")
    return Heard(Counter({int(status): int(n) for status, n in fifty.items()}), p99), flooder


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
