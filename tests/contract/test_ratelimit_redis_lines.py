"""The connections to a real Redis: answers are told to who asked, whoever leaves or is cut off."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from redis import asyncio as aio

from moreton.ratelimit import Concurrency, FixedWindow, Gcra, SlidingCounter, TokenBucket
from moreton.ratelimit.core.limit import Limit
from moreton.ratelimit.redis import FailMode, RedisLimiter, lines
from moreton.ratelimit.redis.async_line import PENDING_MAX, AsyncLine, NoTransport
from moreton.ratelimit.redis.script import ANY, script_for
from moreton.ratelimit.redis.wire import arguments_of, evaluate, packed
from support.redis_server import RedisServer, running_redis
from support.waits import join_all, status_of_child

PATIENT = timedelta(seconds=20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as found:
        yield found


@pytest.fixture(autouse=True)
def _empty(server: RedisServer) -> None:
    with server.client() as client:
        client.flushall()


def limiter(server: RedisServer, *limits: Limit, name: str = "limits") -> RedisLimiter:
    return RedisLimiter(server.url, *limits, name=name, fail=FailMode.closed(), budget=PATIENT)


def cut_all(server: RedisServer) -> None:
    with server.client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def test_a_connection_that_the_server_closed_is_replaced_before_it_is_used(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "_FRESH_NANOS", 0)
    one = limiter(server, Gcra("9/d"))
    assert one.allow("ada")
    for _ in range(3):
        cut_all(server)
        assert one.allow("ada")
    assert one.statistics().degraded == 0
    one.close()


async def test_a_loop_connects_anew_after_the_server_closed_its_connection(
    server: RedisServer,
) -> None:
    one = limiter(server, Gcra("9/d"))
    for _ in range(3):
        assert await one.decide_async("ada")
        cut_all(server)
        await until_ended(one)
    assert one.statistics().degraded == 0
    await one.aclose()


async def until_ended(one: RedisLimiter) -> None:
    (line,) = one._clients._async_lines.values()
    while line._wire is not None and not line._wire.has_ended:
        await asyncio.sleep(0.001)


async def test_answers_reach_who_asked_though_others_leave_meanwhile(server: RedisServer) -> None:
    one = limiter(server, Gcra("1000000/d"))
    assert await one.decide_async("first")
    asking = [
        asyncio.create_task(one.decide_async(f"key {number % 7}", 1 + number % 5))
        for number in range(300)
    ]
    await asyncio.sleep(0)
    for task in asking[::3]:
        task.cancel()
    found = await asyncio.gather(*asking, return_exceptions=True)
    for number, decision in enumerate(found):
        if number % 3 == 0:
            assert isinstance(decision, asyncio.CancelledError)
        else:
            assert not isinstance(decision, BaseException)
            assert (decision.keys, decision.cost) == ((f"key {number % 7}",), 1 + number % 5)
    left = [(await one.decide_async(f"key {key}", 0)).left for key in range(7)]
    # What was on its way when its task was cancelled was charged, once.
    assert sum(1_000_000 - each for each in left) <= sum(1 + number % 5 for number in range(300))
    await one.aclose()


def test_loops_and_threads_have_connections_of_their_own(server: RedisServer) -> None:
    one = limiter(server, Gcra("300/d"))
    got: list[int] = []

    async def ask() -> None:
        found = await asyncio.gather(*(one.decide_async("ada") for _ in range(60)))
        got.append(sum(map(bool, found)))
        await one.aclose()

    def ask_all() -> None:
        got.append(sum(one.allow("ada") for _ in range(60)))
        asyncio.run(ask())

    threads = [threading.Thread(target=ask_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    join_all(threads)
    assert sum(got) == 300
    one.close()


def test_what_belonged_to_loops_that_ended_is_forgotten(server: RedisServer) -> None:
    one = limiter(server, Gcra("9/d"))

    async def ask() -> bool:
        allowed = bool(await one.decide_async("ada"))
        (line,) = one._clients._async_lines.values()
        await line.aclose()
        return allowed

    assert [asyncio.run(ask()) for _ in range(4)] == [True] * 4
    one.close()


def test_a_child_uses_no_connection_of_its_parent(server: RedisServer) -> None:
    one = limiter(server, Gcra("9/d"))
    assert one.decide("ada").left == 8
    child = os.fork()
    if child == 0:
        # In the child nothing of the parent's may be closed, either.
        os._exit(0 if one.decide("ada").left == 7 else 1)
    assert status_of_child(child) == 0
    assert one.decide("ada").left == 6
    one.close()


async def test_more_questions_than_may_wait_are_told_so(server: RedisServer) -> None:
    line = AsyncLine(redis.asyncio.ConnectionPool.from_url(server.url), 20.0)
    assert await line.ask(b"*1\r\n" + packed(["PING"])) == b"PONG"
    server.freeze()
    asking = [
        asyncio.create_task(line.ask(b"*1\r\n" + packed(["PING"]))) for _ in range(PENDING_MAX)
    ]
    await asyncio.sleep(0)
    with pytest.raises(redis.TimeoutError, match=f"{PENDING_MAX} questions"):
        await line.ask(b"*1\r\n" + packed(["PING"]))
    server.thaw()
    assert set(await asyncio.gather(*asking)) == {b"PONG"}
    with pytest.raises(redis.ResponseError, match="unknown command"):
        await line.ask(b"*1\r\n" + packed(["NONSENSE"]))
    await line.aclose()


class _Closed:
    """A connection of redis-py that keeps its transport to itself."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        if name == "_writer":
            raise AttributeError(name)
        return getattr(self._connection, name)


async def test_a_redis_py_that_hands_on_no_transport_is_asked_by_its_own_client(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    make: Any = aio.ConnectionPool.make_connection
    monkeypatch.setattr(aio.ConnectionPool, "make_connection", lambda pool: _Closed(make(pool)))
    with pytest.raises(NoTransport):
        await AsyncLine(aio.ConnectionPool.from_url(server.url), 20).ask(packed(["PING"]))
    one = limiter(server, Gcra("30/d"))
    decisions = await asyncio.gather(*(one.decide_async("ada") for _ in range(40)))
    assert sum(decision.allowed for decision in decisions) == 30
    assert one.statistics().degraded == 0
    assert (await one.decide_async("bob")).allowed
    await one.aclose()


async def test_what_is_no_redis_is_said_to_be_none() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        served.set()

    served = asyncio.Event()

    other = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    # Without what it would say of itself at first.
    quiet: dict[str, Any] = {"protocol": 2, "driver_info": None}
    pool = redis.asyncio.ConnectionPool.from_url(f"redis://127.0.0.1:{port}", **quiet)
    line = AsyncLine(pool, 20.0)
    with pytest.raises(redis.ConnectionError, match="what answers is no Redis"):
        await line.ask(b"*1\r\n" + packed(["PING"]))
    await line.aclose()
    await asyncio.wait_for(served.wait(), 20)
    other.close()
    await other.wait_closed()


def test_a_limiter_sends_the_kinds_of_limits_that_it_has(server: RedisServer) -> None:
    some = [FixedWindow("9/d"), Concurrency(3)]
    script = script_for(some)
    assert len(script.text) < len(ANY.text) / 1.5
    assert "kinds.window =" in script.text
    assert "kinds.counter =" not in script.text
    every = [Gcra("1/s"), TokenBucket(2, 1, timedelta(seconds=1)), SlidingCounter("1/s"), *some]
    assert "kinds.counter =" in script_for(every).text
    one = limiter(server, *some)
    assert [one.allow("ada") for _ in range(4)] == [True] * 3 + [False]
    one.close()


@pytest.mark.parametrize("key", ["", "\ud800", "{}%b%", "a b\r\nc", "ключ"])
def test_any_text_is_a_key(server: RedisServer, key: str) -> None:
    for name in ("limits", "100% {x}"):
        one = RedisLimiter(server.url, Gcra("2/d"), name=name, one_slot=name != "limits")
        assert [one.allow(key) for _ in range(3)] == [True, True, False]
        one.close()


def test_a_question_is_an_array_of_strings() -> None:
    command = evaluate(script_for([Gcra("1/s")]), [b"k"], arguments_of(["give", 0, 0, 0]))
    assert command.startswith(b"*8\r\n$4\r\nEVAL\r\n$")
    assert command.endswith(b"$1\r\n1\r\n$1\r\nk\r\n$4\r\ngive\r\n" + 3 * b"$1\r\n0\r\n")


@pytest.mark.parametrize(
    ("version", "told"),
    [
        (b"4.0.9", "Redis 4.0.9 is too old, 6.2 or later is needed: Write commands"),
        (b"7.2.4", "the store of rate limits failed: Write commands"),
    ],
)
async def test_a_server_that_is_too_old_is_said_to_be(
    version: bytes, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    answers = {
        b"EVALSHA": b"-NOSCRIPT No matching script\r\n",
        b"EVAL": b"-ERR Write commands not allowed after non deterministic commands\r\n",
        b"INFO": b"$%d\r\nredis_version:%b\r\n\r\n" % (16 + len(version), version),
    }

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n"):
                words = []
                for _ in range(int(head[1:])):
                    size = int((await reader.readuntil(b"\r\n"))[1:])
                    words.append((await reader.readexactly(size + 2))[:-2])
                writer.write(answers.get(words[0], b"+OK\r\n"))
        writer.close()

    serving: list[Any] = []
    other = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    one = RedisLimiter(
        f"redis://127.0.0.1:{port}", Gcra("9/d"), fail=FailMode.closed(), budget=PATIENT
    )
    assert not await one.decide_async("ada")
    assert told in caplog.text
    caplog.clear()
    two = RedisLimiter(
        f"redis://127.0.0.1:{port}", Gcra("9/d"), fail=FailMode.closed(), budget=PATIENT
    )
    assert not await asyncio.to_thread(two.allow, "ada")
    assert told in caplog.text
    two.close()
    await one.aclose()
    await asyncio.gather(*serving)
    other.close()
    await other.wait_closed()
