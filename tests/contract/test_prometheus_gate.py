"""A gate on a metric, against a real Prometheus: what it cannot tell is never a pass."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
from collections.abc import Iterator

import pytest

from moreton.controlplane.migrations.prometheus import ask
from moreton.strangler.rollout.core.plan import MetricGate, Plan, Stage
from moreton.strangler.rollout.core.sides import Evidence, Reading
from moreton.strangler.rollout.core.verdicts import Outcome, Verdict, judge
from support.prometheus_server import Prometheus, prometheus
from support.waits import SECONDS

METRICS = {
    "carts_lost": "vector(0.25)",
    "carts_by_shop{shop=fig}": "vector(1)",
    "carts_by_shop{shop=elm}": "vector(2)",
    "orders_total": "vector(0)",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with prometheus(tmp_path_factory.mktemp("prometheus"), METRICS) as found:
        yield found


def verdict(reading: Reading) -> Verdict:
    """What a gate says that wants at most a half."""
    gate = MetricGate("carts", "http://127.0.0.1:9090", "carts_lost", highest=0.5)
    plan = Plan("m", "route", "old", "new", (Stage("100%", 1.0),), (gate,))
    (found,) = judge(plan, plan.stages[0], Evidence(readings={"carts": reading}), None)
    return found


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("carts_lost", 0.25),
        ("sum(carts_by_shop)", 3.0),
        ("scalar(carts_lost) * 2", 0.5),
        ("carts_lost / orders_total", math.inf),
        ("sum(carts_by_shop) " + "+ 0 * sum(carts_by_shop) " * 500, 3.0),
    ],
    ids=["gauge", "sum", "scalar", "infinite", "of 12 KB"],
)
async def test_query_of_one_value_is_read(server: Prometheus, query: str, value: float) -> None:
    assert await ask(server.url, query, seconds=SECONDS) == Reading(value)


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("no_such_metric", "the query finds nothing: there is no such metric, or none lately"),
        (
            "orders_total / orders_total",
            "the query finds NaN, such as of 0 / 0: was there no traffic?",
        ),
        ("carts_by_shop", "the query finds 2 values instead of one: use sum() or max()"),
        ("carts_lost[1m]", "the query finds a range of moments, not one value: use avg_over_time"),
        ('"text"', "the query finds a text, not a number"),
        ("sum(", "the query is refused: "),
    ],
)
async def test_query_without_one_value_is_inconclusive_and_says_why(
    server: Prometheus, query: str, why: str
) -> None:
    reading = await ask(server.url, query, seconds=SECONDS)
    assert reading.value is None
    assert reading.why.startswith(why)
    assert verdict(reading).outcome is Outcome.INCONCLUSIVE
    assert verdict(reading).why == reading.why


async def test_server_that_is_frozen_is_left_after_the_time_limit_and_asked_again(
    server: Prometheus,
) -> None:
    url = server.url
    server.signal(signal.SIGSTOP)
    try:
        reading = await ask(url, "carts_lost", seconds=0.2)
    finally:
        server.signal(signal.SIGCONT)
    assert reading == Reading(why=f"{url} does not answer within 0.2 s")
    assert verdict(reading).outcome is Outcome.INCONCLUSIVE
    assert await ask(url, "carts_lost", seconds=SECONDS) == Reading(0.25)


async def test_server_that_dribbles_is_left_after_the_time_limit() -> None:
    ended = asyncio.Event()

    async def dribble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
            while not writer.is_closing():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)
        ended.set()
        writer.close()

    listening = await asyncio.start_server(dribble, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        reading = await ask(f"http://a:b@127.0.0.1:{port}", "up", seconds=0.2)
        assert reading == Reading(why=f"http://127.0.0.1:{port} does not answer within 0.2 s")
        await asyncio.wait_for(ended.wait(), SECONDS)
