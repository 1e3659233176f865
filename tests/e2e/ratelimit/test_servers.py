"""Each kind of server refuses what is too many, tells of its limits, and frees what was held."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import django
import flask
import grpc
import httpx
import pytest
from django.conf import settings
from django.http import HttpResponse
from django.test import AsyncRequestFactory, RequestFactory
from fastapi import Depends, FastAPI, HTTPException

from moreton.ratelimit import Concurrency, Gcra, LocalLimiter
from moreton.ratelimit.rules import Excess, Rule, by_address, by_header, everyone
from moreton.ratelimit.servers import asgi, wsgi
from moreton.ratelimit.servers.django import RateLimitMiddleware
from moreton.ratelimit.servers.fastapi import Limited
from moreton.ratelimit.servers.flask import RateLimits
from moreton.ratelimit.servers.grpc import AioRateLimitInterceptor, RateLimitInterceptor
from moreton.ratelimit.turns import Queue

pytestmark = pytest.mark.e2e


def two_a_day(**settings_of_rule: Any) -> Rule:
    limits = [Gcra("2/d", name="day"), Concurrency(1)]
    return Rule(LocalLimiter(*limits), by_address(), **settings_of_rule)


def check(answers: list[httpx.Response]) -> None:
    """Two were let in, and the third was told why not."""
    assert [one.status_code for one in answers] == [200, 200, 429]
    assert '"day";r=1' in answers[0].headers["ratelimit"]
    assert answers[2].headers["content-type"].split(";")[0] == "application/problem+json"
    assert answers[2].json()["violated-policies"] == ["day"]
    assert 43_000 < int(answers[2].headers["retry-after"]) <= 43_200


def fast(*rules: Rule) -> FastAPI:
    app = FastAPI()
    app.add_middleware(asgi.RateLimitMiddleware, *rules)

    @app.get("/")
    async def home() -> str:
        return "home"

    @app.get("/lost")
    async def lost() -> str:
        raise HTTPException(404)

    return app


async def ask(app: Any, *paths: str, **headers: str) -> list[httpx.Response]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        return [await client.get(path, headers=headers) for path in paths]


async def test_asgi() -> None:
    check(await ask(fast(two_a_day()), "/", "/", "/"))


async def test_asgi_ends_the_connection_of_what_is_dropped() -> None:
    app = fast(two_a_day(excess=Excess.DROP))
    answer = (await ask(app, "/", "/", "/"))[2]
    assert (answer.status_code, answer.content) == (429, b"")
    assert answer.headers["connection"] == "close"


async def test_asgi_counts_answers_where_a_rule_says_so() -> None:
    rule = Rule(LocalLimiter(Gcra("2/d")), charge=lambda status: int(status == 404))
    answers = await ask(fast(rule), "/", "/lost", "/", "/lost", "/")
    assert [one.status_code for one in answers] == [200, 404, 200, 404, 429]


async def test_asgi_refuses_web_sockets_with_a_reason() -> None:
    app = asgi.RateLimitMiddleware(fast(), two_a_day())
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": "/", "headers": [], "client": ("203.0.113.1", 1)}
    for _ in range(3):
        await app(dict(scope), receive, send)
    assert sent[-1] == {"type": "websocket.close", "code": 1013}


def flask_app() -> flask.Flask:
    app = flask.Flask("shop")
    limits = RateLimits(app, two_a_day())

    @app.get("/")
    def home() -> str:
        return "home"

    @app.get("/login")
    @limits.limit(Rule(LocalLimiter(Gcra("1/d")), everyone))
    def login() -> str:
        return "in"

    return app


def ask_wsgi(app: Any, *paths: str) -> list[httpx.Response]:
    with httpx.Client(transport=httpx.WSGITransport(app), base_url="http://shop") as client:
        return [client.get(path) for path in paths]


def test_flask() -> None:
    check(ask_wsgi(flask_app(), "/", "/", "/"))
    assert [one.status_code for one in ask_wsgi(flask_app(), "/login", "/login")] == [200, 429]


def test_wsgi_frees_the_place_of_an_answer_that_was_left() -> None:
    def app(_: Any, start: Callable[..., Any]) -> Iterator[bytes]:
        start("200 OK", [])
        yield b"one"
        yield b"two"

    rule = Rule(LocalLimiter(Concurrency(1)), everyone)
    limited = wsgi.RateLimitMiddleware(app, rule)
    body = limited({"REMOTE_ADDR": "203.0.113.1"}, lambda *_: None)  # type: ignore[arg-type]
    assert next(iter(body)) == b"one"
    assert rule.limiter.decide("", 0).left == 0
    body.close()  # type: ignore[attr-defined]
    assert rule.limiter.decide("", 0).left == 1

    def broken(*_: Any) -> Iterator[bytes]:
        raise LookupError

    with pytest.raises(LookupError):
        wsgi.RateLimitMiddleware(broken, rule)({}, lambda *_: None)  # type: ignore[arg-type]
    assert rule.limiter.decide("", 0).left == 1


@pytest.fixture(scope="module", autouse=True)
def _django() -> None:
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], MORETON_RATE_LIMITS=[])
        django.setup()


def as_answer(response: HttpResponse) -> httpx.Response:
    return httpx.Response(
        response.status_code, headers=dict(response.items()), content=response.content
    )


def test_django() -> None:
    settings.MORETON_RATE_LIMITS = [two_a_day()]
    middleware = RateLimitMiddleware(lambda _: HttpResponse("home"))
    request = RequestFactory().get("/")
    check([as_answer(middleware(request)) for _ in range(3)])


async def test_django_on_a_loop() -> None:
    async def home(_: Any) -> HttpResponse:
        await asyncio.sleep(0)
        return HttpResponse("home")

    settings.MORETON_RATE_LIMITS = [two_a_day()]
    middleware = RateLimitMiddleware(home)
    request = AsyncRequestFactory().get("/")
    check([as_answer(await middleware(request)) for _ in range(3)])


async def test_fastapi_limits_one_route() -> None:
    app = FastAPI()
    by_key = Limited(Rule(LocalLimiter(Gcra("1/d", name="searches")), by_header("x-api-key")))

    @app.get("/search", dependencies=[Depends(by_key)])
    async def search() -> str:
        return "found"

    first, second = await ask(app, "/search", "/search", **{"x-api-key": "ada"})
    assert first.headers["ratelimit"] == '"searches";r=0;t=86400'
    assert (second.status_code, "retry-after" in second.headers) == (429, True)
    assert "refused by searches" in json.dumps(second.json())
    (other,) = await ask(app, "/search", **{"x-api-key": "grace"})
    assert other.status_code == 200


def handlers(answer: Any, stream: Any) -> Any:
    return grpc.method_handlers_generic_handler(
        "Shop",
        {
            "Say": grpc.unary_unary_rpc_method_handler(answer),
            "List": grpc.unary_stream_rpc_method_handler(stream),
        },
    )


def say(channel: Any) -> Any:
    return channel.unary_unary("/Shop/Say")(b"?", timeout=10)


def list_all(channel: Any) -> Any:
    return list(channel.unary_stream("/Shop/List")(b"?", timeout=10))


@pytest.mark.parametrize("call", [say, list_all])
def test_grpc_in_threads(call: Any) -> None:
    server = grpc.server(ThreadPoolExecutor(2), interceptors=[RateLimitInterceptor(two_a_day())])
    server.add_generic_rpc_handlers((handlers(lambda *_: b"!", lambda *_: iter([b"!"])),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        check_grpc(channel, call)
    assert server.stop(None).wait(30)


@pytest.mark.parametrize("call", [say, list_all])
async def test_grpc_on_a_loop(call: Any) -> None:
    async def answer(*_: Any) -> bytes:
        return b"!"

    async def stream(*_: Any) -> AsyncIterator[bytes]:
        yield b"!"

    server = grpc.aio.server(interceptors=[AioRateLimitInterceptor(two_a_day())])
    server.add_generic_rpc_handlers((handlers(answer, stream),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        await asyncio.to_thread(check_grpc, channel, call)
    await server.stop(None)


def check_grpc(channel: Any, call: Any) -> None:
    assert [call(channel) for _ in range(2)] in [[b"!", b"!"], [[b"!"], [b"!"]]]
    with pytest.raises(grpc.RpcError) as told:
        call(channel)
    assert told.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "refused by day" in told.value.details()
    trailing = dict(told.value.trailing_metadata())
    assert 43_000 < int(trailing["retry-after"]) <= 43_200
    assert trailing["ratelimit"].startswith('"day";r=0')


def test_a_queue_counts_who_waits() -> None:
    queue = Queue(1)
    with queue.place(wanted=True) as first, queue.place(wanted=True) as second:
        assert (first, second, queue.waiting) == (True, False, 1)
    assert queue.waiting == 0
