"""A named policy's retries and timeouts, done by a real Envoy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from moreton.controlplane.settings import load_settings
from moreton.gateway.compile import GatewayCompiler
from moreton.gateway.core.model import Address, Listener
from moreton.resilience import Policy, Retry
from moreton.resilience.clients.httpx import ResilientTransport
from support.flaky import HANG, RESET, Answer, FlakyServer
from support.static_envoy import static_envoy

pytestmark = pytest.mark.e2e
BUSY = Answer(503, body=b"busy")
TEXT = """
version: 1
gateways: {{public: {{listeners: [{{address: 127.0.0.1:1}}]}}}}
services:
  shop: {{addresses: [127.0.0.1:{port}]}}
  pair: {{addresses: [127.0.0.1:{port}, 127.0.0.1:{other}], policy: resting}}
routes:
  reads: {{path: /*, methods: [GET], to: shop, policy: careful}}
  writes: {{path: /*, methods: [POST], to: shop, policy: careful}}
  short: {{path: /short, to: shop, policy: short}}
  pair: {{path: /pair, to: pair}}
policies:
  careful: {{retry: {{attempts: 3, backoff: {{initial: 1ms, cap: 5ms}}}}, timeout: 300ms}}
  short: {{timeout: 200ms}}
  resting: {{breaker: {{failure_rate: 40%, minimum_calls: 5, window: 500ms, open_for: 30s}}}}
"""
ASKED_MAX = 1000


@pytest.fixture(scope="module")
def shop() -> Iterator[FlakyServer]:
    with FlakyServer() as server:
        yield server


@pytest.fixture(scope="module")
def other() -> Iterator[FlakyServer]:
    with FlakyServer() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(
    shop: FlakyServer, other: FlakyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    path: Path = tmp_path_factory.mktemp("policy") / "moreton.yaml"
    path.write_text(TEXT.format(port=shop.port, other=other.port))
    settings = load_settings(path)
    compiler = GatewayCompiler(None)
    for gateway in settings.gateways.values():
        anywhere = Listener(Address("127.0.0.1", 0))
        compiler.put_gateway(replace(gateway, listeners=(anywhere,)))
    for service in settings.services.values():
        compiler.put_service(service)
    for route in settings.routes.values():
        compiler.put_route(route)
    changed, _ = compiler.take()
    with static_envoy(changed) as envoy:
        (port,) = envoy.ports.values()
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def asked(shop: FlakyServer) -> FlakyServer:
    shop.plan.clear()
    shop.seen.clear()
    return shop


def test_read_is_tried_again_by_envoy(gateway: str, asked: FlakyServer) -> None:
    asked.will(BUSY, RESET)
    answer = httpx.get(f"{gateway}/a")
    assert answer.status_code == 200
    assert answer.headers["x-moreton-attempts"] == "3"
    assert len(asked.seen) == 3


def test_write_that_was_received_is_made_once(gateway: str, asked: FlakyServer) -> None:
    asked.will(BUSY)
    assert httpx.post(f"{gateway}/a", content=b"pay").status_code == 503
    assert len(asked.seen) == 1


def test_attempt_of_envoy_ends_in_its_time(gateway: str, asked: FlakyServer) -> None:
    asked.will(HANG)
    assert httpx.get(f"{gateway}/short", timeout=5).status_code == 504


def test_envoy_waits_as_long_as_the_service_asks(gateway: str, asked: FlakyServer) -> None:
    asked.will(Answer(503, (("retry-after", "1"),), b"busy"))
    begun = time.monotonic()
    assert httpx.get(f"{gateway}/a").status_code == 200
    assert time.monotonic() - begun >= 1  # by itself it waits 5 ms at most
    assert len(asked.seen) == 2


def test_client_does_not_try_again_where_envoy_did(gateway: str, asked: FlakyServer) -> None:
    asked.will(*[BUSY] * 9)
    transport = ResilientTransport(Policy(Retry(attempts=3)))
    with httpx.Client(transport=transport) as client:
        assert client.get(f"{gateway}/a").status_code == 503
    assert len(asked.seen) == 3


def test_instance_that_fails_every_second_request_rests(
    gateway: str, asked: FlakyServer, other: FlakyServer
) -> None:
    # Never two failures in a row: only its share of failures can tell.
    asked.will(*[BUSY, Answer()] * ASKED_MAX)
    in_a_row = 0
    with httpx.Client() as client:
        for _ in range(ASKED_MAX):
            before = len(asked.seen)
            client.get(f"{gateway}/pair")
            in_a_row = in_a_row + 1 if len(asked.seen) == before else 0
            if in_a_row == 50:
                break
    assert len(asked.seen) >= 5
    assert in_a_row == 50
    assert len(other.seen) >= 50
