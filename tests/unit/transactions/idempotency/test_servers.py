"""The middlewares: a request with a key is handled once."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from moreton.transactions.databases.errors import DatabaseUnavailable
from moreton.transactions.idempotency import (
    Interrupted,
    KeyPolicy,
    MemoryKeeper,
    idempotent_call,
)
from moreton.transactions.idempotency.servers.asgi import IdempotencyMiddleware
from moreton.transactions.idempotency.servers.wsgi import IdempotencyMiddleware as Wsgi

pytestmark = pytest.mark.slow

KEY = {"idempotency-key": '"k-1"'}


class Shop:
    """Makes orders, as an ASGI and as a WSGI application."""

    def __init__(self) -> None:
        self.made = 0
        self.calls: list[Any] = []
        self.status = 201
        self.answer = b""
        self.before: Callable[[], None] = lambda: None

    def order(self, body: bytes, request: Any) -> tuple[int, bytes]:
        self.before()
        self.made += 1
        self.calls.append(idempotent_call(request))
        return self.status, self.answer or b"order %d of %s" % (self.made, body)

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        status, answer = await asyncio.to_thread(self.order, body, scope)
        fields = [(b"content-type", b"text/plain"), (b"set-cookie", b"s=1")]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": answer[:3], "more_body": True})
        await send({"type": "http.response.body", "body": answer[3:]})

    def wsgi(self, environ: Any, start_response: Any) -> Any:
        status, answer = self.order(environ["wsgi.input"].read(), environ)
        start_response(f"{status} X", [("Content-Type", "text/plain")])
        return iter([answer[:3], answer[3:]])


Ask = Callable[..., httpx.Response]


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture(params=["asgi", "wsgi"])
def serve(request: pytest.FixtureRequest, shop: Shop) -> Callable[..., Ask]:
    def serve(policy: KeyPolicy) -> Ask:
        def ask(method: str = "POST", body: bytes = b"figs", **headers: str) -> httpx.Response:
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            if request.param == "wsgi":
                transport = httpx.WSGITransport(app=Wsgi(shop.wsgi, policy))
                with httpx.Client(transport=transport, base_url="http://shop") as client:
                    return client.request(method, "/orders", content=body, headers=fields)

            async def asked() -> httpx.Response:
                app: Any = IdempotencyMiddleware(shop.asgi, policy)
                transport = httpx.ASGITransport(app=app)
                async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                    return await client.request(method, "/orders", content=body, headers=fields)

            return asyncio.run(asked())

        return ask

    return serve


def code(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    problem = json.loads(response.content)
    assert problem["status"] == response.status_code
    return response.status_code, problem["code"]


def test_a_repetition_gets_the_same_answer(shop: Shop, serve: Callable[..., Ask]) -> None:
    ask = serve(KeyPolicy(MemoryKeeper()))
    first, again = ask(**KEY), ask(**KEY)
    assert (first.status_code, first.text) == (again.status_code, again.text)
    assert first.text == "order 1 of figs"
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert "set-cookie" not in again.headers
    assert shop.made == 1
    assert ask(idempotency_key='"k-2"').text == "order 2 of figs"
    assert len({call.transaction_id for call in shop.calls}) == 2


def test_a_key_with_another_request_is_refused(shop: Shop, serve: Callable[..., Ask]) -> None:
    ask = serve(KeyPolicy(MemoryKeeper()))
    ask(**KEY)
    assert code(ask(body=b"dates", **KEY)) == (422, "idempotency-key-reused")
    assert ask(body=b"dates", authorization="Bearer other", **KEY).status_code == 201
    assert shop.made == 2


def test_a_duplicate_of_what_is_under_way_is_told_to_wait(
    shop: Shop, serve: Callable[..., Ask]
) -> None:
    ask = serve(KeyPolicy(MemoryKeeper()))
    found: list[httpx.Response] = []
    shop.before = lambda: found.append(asked_meanwhile(lambda: ask(**KEY)))
    assert ask(**KEY).status_code == 201
    assert code(found[0]) == (409, "idempotency-in-progress")
    assert 1 <= int(found[0].headers["retry-after"]) <= 10
    assert shop.made == 1


def asked_meanwhile(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """Asked by somebody else, in a thread."""
    found: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: found.append(ask()))
    thread.start()
    thread.join(30)
    return found[0]


def test_requests_without_a_key_pass_or_are_refused(shop: Shop, serve: Callable[..., Ask]) -> None:
    ask = serve(KeyPolicy(MemoryKeeper()))
    ask()
    ask()
    ask("PUT", **KEY)
    ask("PUT", **KEY)
    assert shop.made == 4
    assert shop.calls == [None] * 4
    strict = serve(KeyPolicy(MemoryKeeper(), required=True))
    assert code(strict()) == (400, "idempotency-key-missing")
    assert code(strict(idempotency_key='"')) == (400, "idempotency-key-malformed")
    assert shop.made == 4


def test_a_server_error_leaves_the_key_free(shop: Shop, serve: Callable[..., Ask]) -> None:
    ask = serve(KeyPolicy(MemoryKeeper()))
    shop.status = 503
    assert ask(**KEY).status_code == 503
    shop.status = 201
    assert ask(**KEY).status_code == 201
    shop.before = lambda: 1 / 0  # type: ignore[assignment]
    with pytest.raises(ZeroDivisionError):
        ask(idempotency_key='"k-3"')
    shop.before = lambda: None
    assert ask(idempotency_key='"k-3"').status_code == 201


def test_what_is_too_large_is_refused_or_not_kept(shop: Shop, serve: Callable[..., Ask]) -> None:
    ask = serve(KeyPolicy(MemoryKeeper(), request_bytes_max=10, answer_bytes_max=100))
    assert code(ask(body=b"x" * 11, **KEY)) == (413, "idempotency-request-too-large")
    assert shop.made == 0
    shop.answer = b"x" * 101
    assert ask(**KEY).content == shop.answer
    assert code(ask(**KEY)) == (409, "idempotency-answer-not-kept")
    assert shop.made == 1


def test_a_database_that_is_away_refuses_and_does_not_take_answers_back(
    shop: Shop, serve: Callable[..., Ask]
) -> None:
    class Away(MemoryKeeper):
        away = False

        def add(self, *values: Any) -> Any:
            if self.away:
                raise DatabaseUnavailable(database="keys", reason="it is away")
            return super().add(*values)

        def answer(self, *values: Any) -> bool:
            if self.away:
                raise DatabaseUnavailable(database="keys", reason="it is away")
            return super().answer(*values)

    keeper = Away()
    ask = serve(KeyPolicy(keeper))
    shop.before = lambda: setattr(keeper, "away", True)
    assert ask(**KEY).status_code == 201
    refused = ask(**KEY)
    assert code(refused) == (503, "idempotency-unavailable")
    assert refused.headers["retry-after"]
    keeper.away = False
    assert code(ask(**KEY)) == (409, "idempotency-in-progress")
    assert shop.made == 1


def test_a_request_that_is_cut_off_is_not_handled(shop: Shop) -> None:
    said: list[str] = []

    def start_response(status: str, _: Any) -> Any:
        said.append(status)

    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "HTTP_IDEMPOTENCY_KEY": '"k-1"',
        "CONTENT_LENGTH": "11",
        "wsgi.input": io.BytesIO(b"amount=10"),  # of amount=1000
    }
    app = Wsgi(shop.wsgi, KeyPolicy(MemoryKeeper()))
    body = b"".join(app(environ, start_response))
    assert said == ["400 Bad Request"]
    assert json.loads(body)["code"] == "idempotency-request-incomplete"
    assert shop.made == 0
    environ["wsgi.input"] = io.BytesIO(b"amount=1000")
    assert b"".join(app(environ, start_response)) == b"order 1 of amount=1000"


def test_an_answer_that_breaks_off_is_closed() -> None:
    closed: list[object] = []

    class Answer:
        def __iter__(self) -> Iterator[bytes]:
            yield b"a"
            raise ZeroDivisionError

        def close(self) -> None:
            closed.append(True)

    def breaks(_: Any, start_response: Any) -> Answer:
        start_response("200 OK", [])
        return Answer()

    environ = {"REQUEST_METHOD": "POST", "HTTP_IDEMPOTENCY_KEY": '"k-1"'}
    start_response: Any = closed.append
    with pytest.raises(ZeroDivisionError):
        Wsgi(breaks, KeyPolicy(MemoryKeeper()))(environ, start_response)
    assert closed == [True]


@pytest.mark.parametrize("how", ["no policy", 7])
def test_what_is_no_policy_is_refused(how: Any) -> None:
    with pytest.raises(TypeError, match="keep_at"):
        Wsgi(Shop().wsgi, how)
    with pytest.raises(TypeError, match="keeper is"):
        KeyPolicy(how)
    with pytest.raises(ValueError, match="'again' is not"):
        KeyPolicy(MemoryKeeper(), interrupted="again")  # type: ignore[arg-type]
    assert KeyPolicy(MemoryKeeper(), interrupted=Interrupted.RERUN).methods == {"POST", "PATCH"}


DJANGO = """
import json, sys
from django.conf import settings
from moreton.transactions.idempotency import MemoryKeeper, KeyPolicy, idempotent_call
settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="x",
    MORETON_IDEMPOTENCY=KeyPolicy(MemoryKeeper()),
    MIDDLEWARE=["moreton.transactions.idempotency.servers.django.IdempotencyMiddleware"],
)
import django; django.setup()
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
made = []
def order(request):
    made.append(idempotent_call(request).branch)
    return HttpResponse(f"order {len(made)} of {request.body.decode()}", status=201)
urlpatterns = [path("orders", order)]
def ask(body, key):
    return Client().post("/orders", body, "text/plain", headers={"idempotency-key": key})
for body, key in [("figs", '"a"'), ("figs", '"a"'), ("dates", '"a"'), ("figs", '"')]:
    found = ask(body, key)
    print(found.status_code, found.content.decode()[:20], found.get("idempotency-replayed"))
import asyncio
async def twice():
    for _ in range(2):
        found = await AsyncClient().post(
            "/orders", "figs", "text/plain", headers={"idempotency-key": '"b"'})
        print(found.status_code, found.content.decode(), found.get("idempotency-replayed"))
asyncio.run(twice())
print(made)
"""


def test_django_handles_a_request_once() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DJANGO], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines() == [
        "201 order 1 of figs None",
        "201 order 1 of figs true",
        '422 {"type": "about:blan None',
        '400 {"type": "about:blan None',
        "201 order 2 of figs None",
        "201 order 2 of figs true",
        "['request', 'request']",
    ], done.stderr
