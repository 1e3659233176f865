"""Bounds on work under way, on failing answers and on connections, in a real Envoy."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from moreton.gateway.compile import GatewayCompiler
from moreton.kernel.quantities import parse_rate
from moreton.ratelimit.core.rules.bounds import AdmissionBound, RateBound, WorkBound
from moreton.ratelimit.core.rules.values import LimitRule, Match, Verdict
from support.asking import Answer, ask
from support.fronted import at_any_port, put_before
from support.static_envoy import StaticEnvoy, static_envoy

pytestmark = pytest.mark.e2e

AT_ONCE = 3
ADAPTIVE_MIN = 20
SECONDS_MAX = 20


class App(BaseHTTPRequestHandler):
    """Holds what asks for `/…/hold` until told to go on; fails what asks for `/…/fail`."""

    protocol_version = "HTTP/1.1"
    arrived: ClassVar[threading.Semaphore] = threading.Semaphore(0)
    go_on: ClassVar[threading.Semaphore] = threading.Semaphore(0)

    def do_GET(self) -> None:
        if self.path.endswith("hold"):
            App.arrived.release()
            assert App.go_on.acquire(timeout=SECONDS_MAX)
        self.send_response(500 if self.path.endswith("fail") else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def of(route: str) -> Match:
    return Match(routes=frozenset([route]))


def gateways(*names: str) -> Match:
    return Match(gateways=frozenset(names))


RULES = [
    LimitRule("few", (WorkBound(AT_ONCE),), match=of("few"), status=503),
    LimitRule("adaptive", (WorkBound(None),), match=of("adaptive")),
    LimitRule(
        "healthy", (AdmissionBound(0.95, timedelta(seconds=10), 0, 0.99),), match=of("healthy")
    ),
    LimitRule(
        "arrivals",
        (RateBound(parse_rate("1/h"), 2),),
        match=gateways("arrivals"),
        connections=True,
        verdict=Verdict.DROP,
    ),
    LimitRule(
        "places",
        (WorkBound(2),),
        match=gateways("places"),
        connections=True,
        verdict=Verdict.DROP,
    ),
]


@pytest.fixture(scope="module")
def envoy() -> Iterator[StaticEnvoy]:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(("127.0.0.1", 0), App))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        compiler = put_before(
            GatewayCompiler(),
            int(server.server_address[1]),
            routes={
                "rest": "/*",
                **{name: f"/{name}/*" for name in ("few", "adaptive", "healthy")},
            },
            gateways=map(at_any_port, ("arrivals", "places")),
        )
        for rule in RULES:
            compiler.put_limit(rule)
        changed, _ = compiler.take()
        yield stack.enter_context(static_envoy(changed))


def held(envoy: StaticEnvoy, path: str, count: int, refused: int) -> list[Answer]:
    """*count* requests at once, of which *refused* are to be answered before the others go on."""
    port = envoy.ports["public/0"]
    with ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(ask, port, "GET", path) for _ in range(count)]
        for _ in range(count - refused):
            assert App.arrived.acquire(timeout=SECONDS_MAX)
        done = [one for one in asked if one.done()]
        while len(done) < refused:
            done = [one for one in asked if one.done()]
        for _ in range(count - refused):
            App.go_on.release()
        return [one.result() for one in asked]


def test_no_more_are_under_way_than_a_rule_says_and_the_rest_are_told_so(
    envoy: StaticEnvoy,
) -> None:
    answers = held(envoy, "/few/hold", 8, refused=8 - AT_ONCE)
    refused = [one for one in answers if one.status == 503]
    assert len(refused) == 8 - AT_ONCE
    assert refused[0].headers["retry-after"] == "1"
    assert json.loads(refused[0].body)["code"] == "rate-limited"


def test_work_on_other_routes_is_not_counted(envoy: StaticEnvoy) -> None:
    assert {one.status for one in held(envoy, "/other/hold", 8, refused=0)} == {200}


def test_adaptive_rule_admits_a_start_of_work_at_once(envoy: StaticEnvoy) -> None:
    answers = held(envoy, "/adaptive/hold", ADAPTIVE_MIN + 5, refused=5)
    assert sorted(one.status for one in answers) == [200] * ADAPTIVE_MIN + [429] * 5


def test_service_that_fails_is_asked_less(envoy: StaticEnvoy) -> None:
    port = envoy.ports["public/0"]
    answers = [ask(port, "GET", "/healthy/fail") for _ in range(60)]
    refused = [one for one in answers if one.status == 503]
    assert len(refused) > 10
    assert json.loads(refused[0].body)["detail"] == "too much work is under way"
    assert ask(port, "GET", "/other/ok").status == 200


@pytest.mark.parametrize("gateway", ["arrivals", "places"])
def test_connection_that_is_too_many_is_closed_without_an_answer(
    envoy: StaticEnvoy, gateway: str
) -> None:
    with contextlib.ExitStack() as stack:
        heard = []
        for _ in range(4):
            address = ("127.0.0.1", envoy.ports[f"{gateway}/0"])
            client = stack.enter_context(socket.create_connection(address, SECONDS_MAX))
            with contextlib.suppress(ConnectionError):
                client.sendall(b"GET / HTTP/1.1\r\nhost: gateway.test\r\n\r\n")
            try:
                heard.append(client.recv(12))
            except ConnectionError:
                heard.append(b"")
        assert heard == [b"HTTP/1.1 200"] * 2 + [b""] * 2
