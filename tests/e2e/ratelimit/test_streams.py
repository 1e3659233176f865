"""A place is held for as long as an answer is being made: streams, clients that leave, failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import django
import flask
import grpc
import httpx
import pytest
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.test import RequestFactory
from django.urls import path
from fastapi import Depends, FastAPI, HTTPException, Response
from starlette.responses import JSONResponse, StreamingResponse

from moreton.ratelimit import Concurrency, Gcra, LocalLimiter
from moreton.ratelimit.rules import Rule, by_address, everyone
from moreton.ratelimit.servers import asgi, wsgi
from moreton.ratelimit.servers.django import RateLimitMiddleware
from moreton.ratelimit.servers.fastapi import Limited
from moreton.ratelimit.servers.flask import RateLimits
from moreton.ratelimit.servers.grpc import AioRateLimitInterceptor, RateLimitInterceptor

pytestmark = pytest.mark.e2e
SCOPE = {
    "type": "http",
    "method": "GET",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "headers": [(b"host", b"shop")],
    "client": ("203.0.113.1", 1),
}


def one_at_a_time() -> Rule:
    return Rule(LocalLimiter(Concurrency(1)), everyone)


def free(rule: Rule) -> int:
    return rule.limiter.decide("", 0).left


async def wait_free(rule: Rule) -> None:
    async with asyncio.timeout(10):
        while not free(rule):
            await asyncio.sleep(0.01)


@pytest.fixture(scope="module", autouse=True)
def _django() -> None:
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], MORETON_RATE_LIMITS=[])
        django.setup()


def test_django_holds_the_place_of_a_stream_until_it_is_closed() -> None:
    rule = one_at_a_time()
    settings.MORETON_RATE_LIMITS = [rule]
    middleware = RateLimitMiddleware(lambda _: StreamingHttpResponse(iter([b"one", b"two"])))
    answer = middleware(RequestFactory().get("/"))
    assert next(iter(answer)) == b"one"
    assert free(rule) == 0
    answer.close()
    answer.close()
    assert free(rule) == 1


def test_django_hands_a_file_on_as_it_is() -> None:
    rule = one_at_a_time()
    settings.MORETON_RATE_LIMITS = [rule]
    middleware = RateLimitMiddleware(lambda _: FileResponse(BytesIO(b"sold")))
    answer = middleware(RequestFactory().get("/"))
    assert answer.file_to_stream is not None
    answer.close()
    assert free(rule) == 1


def test_django_frees_the_place_of_what_fails() -> None:
    def broken(_: Any) -> HttpResponse:
        raise LookupError

    rule = one_at_a_time()
    settings.MORETON_RATE_LIMITS = [rule]
    with pytest.raises(LookupError):
        RateLimitMiddleware(broken)(RequestFactory().get("/"))
    assert free(rule) == 1


def test_django_serves_clients_that_have_no_address() -> None:
    settings.MORETON_RATE_LIMITS = [Rule(LocalLimiter(Gcra("1/d")))]
    middleware = RateLimitMiddleware(lambda _: HttpResponse("home"))
    request = RequestFactory().get("/")
    del request.META["REMOTE_ADDR"]  # as over a Unix socket
    assert [middleware(request).status_code for _ in range(2)] == [200, 429]


async def endless(_: Any = None) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[bytes]:
        while True:
            yield b"more"
            await asyncio.sleep(0)

    return StreamingHttpResponse(parts())


urlpatterns = [path("", endless)]


async def test_django_on_a_loop_frees_the_place_when_the_client_leaves() -> None:
    rule = one_at_a_time()
    settings.MORETON_RATE_LIMITS = [rule]
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["moreton.ratelimit.servers.django.RateLimitMiddleware"]
    seen: list[int] = []
    messages = [{"type": "http.request", "body": b""}]
    left = asyncio.Event()

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            seen.append(free(rule))
            left.set()
        await asyncio.sleep(0)

    await ASGIHandler()(dict(SCOPE), receive, send)
    assert set(seen) == {0}
    assert free(rule) == 1


def test_flask_holds_the_place_of_a_streaming_view() -> None:
    app = flask.Flask("shop")
    rule = one_at_a_time()
    limits = RateLimits()
    seen: list[int] = []

    def parts() -> Iterator[str]:
        seen.append(free(rule))
        yield "one"
        seen.append(free(rule))
        yield "two"

    @app.get("/")
    @limits.limit(rule)
    def stream() -> flask.Response:
        return flask.Response(parts())

    client = app.test_client()
    assert client.get("/", buffered=True).text == "onetwo"
    assert (seen, free(rule)) == ([0, 0], 1)
    left = client.get("/")
    left.close()
    assert free(rule) == 1


async def test_fastapi_sees_answers_of_a_routes_own_where_the_middleware_is() -> None:
    app = FastAPI()
    app.add_middleware(asgi.RateLimitMiddleware)
    rule = Rule(LocalLimiter(Gcra("2/d")), everyone, charge=lambda status: int(status == 401))

    @app.get("/{how}", dependencies=[Depends(Limited(rule))])
    async def login(how: str) -> Response:
        if how == "raised":
            raise HTTPException(401)
        return JSONResponse({}, 401 if how == "returned" else 200)

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        told = [
            (await client.get(f"/{how}")).status_code
            for how in ("fine", "returned", "fine", "raised", "fine")
        ]
    assert told == [200, 401, 200, 401, 429]


async def test_fastapi_says_that_a_dependency_alone_does_not_see_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = FastAPI()
    rule = Rule(LocalLimiter(Gcra("2/d")), everyone, charge=lambda status: status, name="logins")

    @app.get("/", dependencies=[Depends(Limited(rule))])
    async def home() -> str:
        return "home"

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        for _ in range(2):
            await client.get("/")
    (record,) = caplog.records
    assert record.getMessage().startswith("limit logins counts answers")


@pytest.mark.parametrize("with_middleware", [True, False])
async def test_fastapi_holds_the_place_of_a_stream(*, with_middleware: bool) -> None:
    app = FastAPI()
    if with_middleware:
        app.add_middleware(asgi.RateLimitMiddleware)
    rule = one_at_a_time()
    seen: list[int] = []

    async def parts() -> AsyncIterator[str]:
        seen.append(free(rule))
        yield "one"

    @app.get("/", dependencies=[Depends(Limited(rule))])
    async def stream() -> StreamingResponse:
        return StreamingResponse(parts())

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        assert (await client.get("/")).text == "one"
    assert (seen, free(rule)) == ([0], 1)


async def test_asgi_counts_a_web_socket_by_how_it_was_answered() -> None:
    statuses: list[int] = []

    def charge(status: int) -> int:
        statuses.append(status)
        return 0

    def app_of(*types: str) -> Any:
        async def app(_: Any, __: Any, send: Callable[[Any], Any]) -> None:
            for one in types:
                await send({"type": one, "status": 426, "headers": []})

        return asgi.RateLimitMiddleware(app, Rule(LocalLimiter(Gcra("9/d")), charge=charge))

    async def nothing(*_: Any) -> Any:
        return {"type": "websocket.connect"}

    scope: dict[str, Any] = {"type": "websocket", "path": "/", "headers": [], "client": None}
    close = "websocket.close"
    for app in (app_of("websocket.accept", close), app_of(close), app_of(), app_of(HTTP_START)):
        await app(dict(scope), nothing, nothing)
    assert statuses == [101, 403, 500, 426]


HTTP_START = "websocket.http.response.start"


def test_wsgi_tells_the_fields_of_the_body() -> None:
    environ = {"CONTENT_TYPE": "text/csv", "CONTENT_LENGTH": "", "HTTP_X_TENANT": "ada"}
    assert wsgi.caller_of(environ).headers == {"content-type": "text/csv", "x-tenant": "ada"}


def handlers(stream: Any) -> Any:
    return grpc.method_handlers_generic_handler(
        "Shop", {"List": grpc.unary_stream_rpc_method_handler(stream)}
    )


async def listen_and_leave(port: int, rule: Rule) -> None:
    """Call, take one item, and leave in the middle; twice, and once to its failure."""
    for _ in range(2):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_stream("/Shop/List")(b"?")
            assert await call.read() == b"one"
            assert free(rule) == 0
            call.cancel()
        await wait_free(rule)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.RpcError):
            [item async for item in channel.unary_stream("/Shop/List")(b"fail")]
    await wait_free(rule)


async def test_grpc_on_a_loop_frees_the_place_when_the_client_leaves() -> None:
    async def stream(request: bytes, _: Any) -> AsyncIterator[bytes]:
        yield b"one"
        if request == b"fail":
            raise LookupError
        await asyncio.Event().wait()

    rule = one_at_a_time()
    server = grpc.aio.server(interceptors=[AioRateLimitInterceptor(rule)])
    server.add_generic_rpc_handlers((handlers(stream),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await listen_and_leave(port, rule)
    await server.stop(None)


async def test_grpc_in_threads_frees_the_place_when_the_client_leaves() -> None:
    def stream(request: bytes, context: Any) -> Iterator[bytes]:
        yield b"one"
        if request == b"fail":
            raise LookupError
        while context.is_active():
            yield b"more"

    rule = one_at_a_time()
    server = grpc.server(ThreadPoolExecutor(2), interceptors=[RateLimitInterceptor(rule)])
    server.add_generic_rpc_handlers((handlers(stream),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    await listen_and_leave(port, rule)
    await asyncio.to_thread(server.stop(None).wait, 30)


def test_grpc_over_a_unix_socket_believes_its_proxy(tmp_path: Path) -> None:
    rule = Rule(LocalLimiter(Gcra("9/d")), by_address(trusted=["unix"]))
    server = grpc.server(ThreadPoolExecutor(1), interceptors=[RateLimitInterceptor(rule)])
    server.add_generic_rpc_handlers((handlers(lambda *_: iter([b"one"])),))
    server.add_insecure_port(f"unix:{tmp_path}/shop")
    server.start()
    with grpc.insecure_channel(f"unix:{tmp_path}/shop") as channel:
        hops = (("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "203.0.113.9"))
        call = channel.unary_stream("/Shop/List")(b"?", metadata=hops, timeout=10)
        assert list(call) == [b"one"]
    assert rule.limiter.decide("203.0.113.9", 0).left == 8
    assert server.stop(None).wait(30)
