"""What a real Envoy does with who is banned: no control plane, one proxy behind another."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from moreton.gateway.compile import GatewayCompiler
from moreton.ratelimit.config.words import ban_of
from support.asking import Answer, ask
from support.echo import echo_server
from support.fronted import at_any_port, put_before
from support.static_envoy import StaticEnvoy, static_envoy

pytestmark = pytest.mark.e2e

BANS = ["192.0.2.0/24", "198.51.100.7", "2001:db8::/32", "header:user-agent=BadBot", "header:x-a=1"]


@pytest.fixture(scope="module")
def envoy() -> Iterator[StaticEnvoy]:
    with contextlib.ExitStack() as stack:
        app = stack.enter_context(echo_server("app"))
        behind = at_any_port("behind", trusted_proxies=1)
        compiler = put_before(GatewayCompiler(), app.port, gateways=[behind])
        compiler.put_bans(ban_of(who) for who in [*BANS, "country=FR"])
        changed, _ = compiler.take()
        yield stack.enter_context(static_envoy(changed))


def status(envoy: StaticEnvoy, gateway: str = "behind", **headers: str) -> int:
    return ask(envoy.ports[f"{gateway}/0"], "GET", "/", **headers).status


def test_who_is_banned_is_told_so(envoy: StaticEnvoy) -> None:
    answer: Answer = ask(envoy.ports["behind/0"], "GET", "/", x_forwarded_for="192.0.2.9")
    assert answer.status == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.said["code"] == "banned"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.255", 403),
        ("192.0.3.0", 200),
        ("198.51.100.7", 403),
        ("198.51.100.8", 200),
        ("2001:db8::7", 403),
        ("2001:db9::7", 200),
        # Only the proxy in front is believed: what the client wrote before is nothing.
        ("192.0.2.9, 203.0.113.1", 200),
        ("203.0.113.1, 192.0.2.9", 403),
    ],
)
def test_networks_are_kept_out(envoy: StaticEnvoy, address: str, expected: int) -> None:
    assert status(envoy, x_forwarded_for=address) == expected


def test_headers_are_kept_out_by_their_whole_value(envoy: StaticEnvoy) -> None:
    found = [status(envoy, user_agent=value) for value in ("BadBot", "BadBot/2", "Good")]
    assert found == [403, 200, 200]
    assert [status(envoy, x_a=value) for value in ("1", "2")] == [403, 200]


def test_a_gateway_without_proxies_in_front_believes_no_forwarded_address(
    envoy: StaticEnvoy,
) -> None:
    assert status(envoy, "public", x_forwarded_for="192.0.2.9") == 200
