from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import ssl
import sys
import time
from pathlib import Path

import pytest

from e2e.up.world import World
from moreton.envoy.identity import identify
from support.certificates import make_certificate
from support.waits import wait_until

pytestmark = pytest.mark.e2e

PROGRAM = Path(__file__).with_name("program.py")


def test_registered_instance_gets_requests_until_it_leaves(world: World) -> None:
    services = {"a": {"addresses": [world.backend("a")]}, "c": {"discover": True}}
    routes = {"everything": {"path": "/*", "to": "a"}, "c": {"path": "/c/*", "to": "c"}}
    world.write(world.configuration(services=services, routes=routes))
    world.start()
    assert world.ask("/c/")[0] == 503
    host, port = world.backend("c").split(":")
    body = {"address": host, "port": int(port), "ttl": "5s"}
    instance = world.api.call("POST", "/v1/services/c/instances", body)["id"]
    wait_until(lambda: world.ask("/c/") == (200, "c"), "the instance answers")
    assert world.backend("c") in world.run("services", "c").stdout
    assert instance in world.run("instances", "c").stdout
    serving = {"a": {"serving": 1}, "c": {"serving": 1}}
    wait_until(lambda: _listed(world) == [*serving.items()], "each service is listed once")
    assert json.loads(world.run("services", "a", "--json").stdout)["states"] == serving["a"]
    world.api.call("DELETE", f"/v1/services/c/instances/{instance}")
    start = time.monotonic()
    wait_until(lambda: world.ask("/c/")[0] == 503, "the instance is gone")
    assert time.monotonic() - start < 1.0


def test_program_of_run_is_started_adopted_after_a_kill_and_stopped(world: World) -> None:
    run = {"command": f"{sys.executable} {PROGRAM} {{port}}", "ready": "/"}
    routes = {"everything": {"path": "/*", "to": "p"}}
    world.write(world.configuration(services={"p": {"run": run}}, routes=routes))
    world.start()
    status, pid = wait_until(lambda: _answer(world), "the program answers")
    assert status == 200
    world.stop(signal.SIGKILL)
    assert world.ask() == (200, pid)
    world.start()
    wait_until(lambda: world.api.get("/v1/status")["programs"][0]["ready"], "it is adopted")
    assert world.ask() == (200, pid)
    assert f"program p: pid {pid}" in world.run("status").stdout
    world.stop(signal.SIGTERM)
    assert identify(int(pid)) is None


def test_new_certificate_is_served_without_a_restart(world: World) -> None:
    make_certificate(world.folder)
    tls = {"certificate": "cert.pem", "key": "key.pem"}
    listener = {"address": f"127.0.0.1:{world.port}", "tls": tls}
    world.write(world.configuration(gateways={"public": {"listeners": [listener]}}))
    world.start()
    before = _certificate(world)
    make_certificate(world.folder)
    wait_until(lambda: _certificate(world) != before, "the new certificate is served")
    connection = http.client.HTTPSConnection("127.0.0.1", world.port, context=_trusting())
    with contextlib.closing(connection) as client:
        client.request("GET", "/")
        assert client.getresponse().read() == b"a"


def test_gateway_without_a_route_gets_its_first_by_an_edit(world: World) -> None:
    document = world.configuration()
    routes = document.pop("routes")
    world.write(document)
    world.start()
    world.write({**document, "routes": routes})
    wait_until(lambda: world.ask() == (200, "a"), "the route that was added is in force")


def _listed(world: World) -> list[tuple[str, dict[str, int]]]:
    found = json.loads(world.run("services", "--json").stdout)
    return [(each["name"], each["states"]) for each in found]


def _answer(world: World) -> tuple[int, str] | None:
    found = world.ask()
    return found if found[0] == 200 else None


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _certificate(world: World) -> bytes | None:
    with (
        socket.create_connection(("127.0.0.1", world.port), 30) as plain,
        _trusting().wrap_socket(plain) as secure,
    ):
        return secure.getpeercert(binary_form=True)


def test_api_beyond_loopback_needs_tls_and_then_serves_it(world: World) -> None:
    wide = {"api": f"0.0.0.0:{world.api_port}"}
    world.write(world.configuration(controlplane=wide))
    refused = world.run("up")
    assert refused.returncode == 6
    assert "is not a loopback address, and has no TLS" in refused.stderr
    make_certificate(world.folder, "other.test")
    tls = {"certificate": "cert.pem", "key": "key.pem"}
    world.write(world.configuration(controlplane={**wide, "tls": tls}))
    world.spawn()
    wait_until(lambda: world.run("routes").returncode == 0, "the API answers over TLS")
    assert world.api.url == f"https://127.0.0.1:{world.api_port}"
    with pytest.raises(http.client.RemoteDisconnected):
        world.health()
