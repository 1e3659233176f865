"""Deadlines, criticality and load shedding in real ASGI and WSGI servers."""

from __future__ import annotations

import asyncio
import contextlib
import socketserver
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import httpx
import pytest
import uvicorn

from moreton.resilience import Backoff, Bulkhead, Policy, Retry
from moreton.resilience.clients.httpx import AsyncResilientTransport, ResilientTransport
from moreton.resilience.context import criticality_var, remaining
from moreton.resilience.errors import DeadlineExceeded
from moreton.resilience.servers import asgi, wsgi
from support.flaky import Answer, FlakyServer
from support.waits import join_all

pytestmark = pytest.mark.e2e
POLICY = Policy(Retry(attempts=2, backoff=Backoff.constant(timedelta(milliseconds=1))))
READY_SECONDS_MAX = 10


class Application:
    """Tells its context, streams, holds a slot until it is released, or asks a server behind.

    It gives up for its time before it has begun to answer, or after.
    """

    def __init__(self) -> None:
        self.behind = ""
        self.served = 0
        self.entered = threading.Event()
        self.release = threading.Event()

    def told(self) -> bytes:
        left = remaining()
        seconds = "none" if left is None else str(left.total_seconds() > 0)
        return f"{seconds} {criticality_var.get().value}".encode()

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.served += 1
        status, parts = 200, [self.told()]
        if scope["path"] == "/late":
            raise DeadlineExceeded("of a call that the application made")
        if scope["path"] == "/hold":
            self.entered.set()
            while not self.release.is_set():
                await asyncio.sleep(0.005)
        if scope["path"] == "/behind":
            transport = AsyncResilientTransport(POLICY)
            async with httpx.AsyncClient(transport=transport) as client:
                status = (await client.get(self.behind)).status_code
        await send({"type": "http.response.start", "status": status, "headers": []})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        if scope["path"] == "/begun":
            raise DeadlineExceeded("of a call that the application made")
        await send({"type": "http.response.body", "body": b""})

    def wsgi(self, environ: Any, start: Any) -> Iterable[bytes]:
        self.served += 1
        status = 200
        if environ["PATH_INFO"] == "/late":
            raise DeadlineExceeded("of a call that the application made")
        if environ["PATH_INFO"] == "/hold":
            self.entered.set()
            assert self.release.wait(READY_SECONDS_MAX)
        if environ["PATH_INFO"] == "/behind":
            with httpx.Client(transport=ResilientTransport(POLICY)) as client:
                status = client.get(self.behind).status_code
        start(f"{status} Said", [("content-type", "text/plain")])
        yield self.told()  # after start: still within the context


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None: ...


class _Threaded(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


@contextlib.contextmanager
def serve_wsgi(application: Application, shedding: Any) -> Iterator[str]:
    made = wsgi.ResilienceMiddleware(application.wsgi, shedding=shedding)
    server = make_server("127.0.0.1", 0, made, _Threaded, _Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        join_all([thread])
        server.server_close()


@contextlib.contextmanager
def serve_asgi(application: Application, shedding: Any) -> Iterator[str]:
    made = asgi.ResilienceMiddleware(application.asgi, shedding=shedding)
    config = uvicorn.Config(made, host="127.0.0.1", port=0, log_level="error", loop="asyncio")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    until = time.monotonic() + READY_SECONDS_MAX
    while not server.started:
        assert time.monotonic() < until
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        join_all([thread])


Serve = Callable[[Application, Any], contextlib.AbstractContextManager[str]]


@pytest.fixture(params=[serve_asgi, serve_wsgi], ids=["asgi", "wsgi"])
def serve(request: pytest.FixtureRequest) -> Serve:
    found: Serve = request.param
    return found


def test_application_knows_the_deadline_and_criticality_of_its_caller(serve: Serve) -> None:
    fields = {"x-moreton-timeout-ms": "5000", "x-moreton-criticality": "sheddable"}
    with serve(Application(), None) as url:
        assert httpx.get(url, headers=fields).text == "True sheddable"
        assert httpx.get(url).text == "none critical"


def test_request_that_is_not_let_in_is_told_when_to_return(serve: Serve) -> None:
    application = Application()
    with serve(application, Bulkhead(1)) as url:
        holding = threading.Thread(target=httpx.get, args=(f"{url}/hold",))
        holding.start()
        assert application.entered.wait(READY_SECONDS_MAX)
        refused = httpx.get(url)
        application.release.set()
        join_all([holding])
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["code"] == "bulkhead-full"
        assert httpx.get(url).status_code == 200  # the slot is free again


def test_request_that_waited_too_long_is_not_served(serve: Serve) -> None:
    application = Application()
    with serve(application, Bulkhead(1, queue=1, queue_timeout=timedelta(seconds=20))) as url:
        holding = threading.Thread(target=httpx.get, args=(f"{url}/hold",))
        holding.start()
        assert application.entered.wait(READY_SECONDS_MAX)
        late = httpx.get(url, headers={"x-moreton-timeout-ms": "100"}, timeout=READY_SECONDS_MAX)
        application.release.set()
        join_all([holding])
        assert late.status_code == 503  # it was told when its own time was over, not after 20 s
        assert application.served == 1


def test_deadline_that_passes_within_the_application_is_told_as_such(serve: Serve) -> None:
    application = Application()
    with serve(application, None) as url:
        late = httpx.get(f"{url}/late")
        assert (late.status_code, late.json()["code"]) == (504, "deadline-exceeded")
        assert late.headers["content-type"] == "application/problem+json"


def test_answer_that_has_begun_breaks_off_when_its_time_is_over() -> None:
    with serve_asgi(Application(), None) as url, pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{url}/begun")


def test_answer_forbids_retries_once_they_were_made_behind(serve: Serve) -> None:
    application = Application()
    with FlakyServer() as behind, serve(application, None) as url:
        application.behind = behind.url
        behind.will(Answer(503), Answer(503))
        failed = httpx.get(f"{url}/behind")
        assert (failed.status_code, failed.headers["x-moreton-retry"]) == (503, "never")
        with httpx.Client(transport=ResilientTransport(POLICY)) as client:
            behind.will(Answer(503), Answer(503))
            assert client.get(f"{url}/behind").status_code == 503
        assert len(behind.seen) == 4  # two layers of two attempts, and still two for each request
        assert "x-moreton-retry" not in httpx.get(f"{url}/behind").headers


def test_attempts_behind_count_anew(serve: Serve) -> None:
    application = Application()
    with FlakyServer() as behind, serve(application, None) as url:
        application.behind = behind.url
        httpx.get(f"{url}/behind", headers={"x-moreton-attempt": "2"})
        assert behind.seen[0].headers["x-moreton-attempt"] == "1"


def test_gate_of_another_kind_is_refused() -> None:
    for module in (asgi, wsgi):
        with pytest.raises(TypeError, match="shedding is"):
            module.ResilienceMiddleware(lambda *_: None, shedding=POLICY)
