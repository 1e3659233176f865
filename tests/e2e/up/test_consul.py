"""Consul's API of a real control plane: what is registered by it gets requests through Envoy."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from e2e.up.world import World
from support.ports import free_port
from support.waits import wait_until


def with_consul(world: World, **consul: Any) -> int:
    """Start *world* with Consul's API and a route to what is registered; its port."""
    port = free_port()
    services = {"orders": {"discover": "orders"}}
    world.write(
        world.configuration(
            services=services,
            routes={"everything": {"path": "/*", "to": "orders"}},
            consul={"listen": f"127.0.0.1:{port}"} | consul,
        )
    )
    world.start()
    return port


def ask(world: World, port: int, method: str, path: str, body: Any = None) -> Any:
    token = (world.folder / ".moreton" / "token").read_text().strip()
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/{path}", data, {"x-consul-token": token}, method=method
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
        text = answer.read()
    return json.loads(text) if text else None


def register(world: World, port: int, name: str) -> None:
    address, _, own = world.backend(name).rpartition(":")
    check = {"TTL": "10m", "Status": "passing"}
    body = {"Name": "orders", "ID": name, "Address": address, "Port": int(own), "Check": check}
    ask(world, port, "PUT", "agent/service/register", body)


def test_service_of_consul_gets_requests_and_outlives_the_control_plane(world: World) -> None:
    port = with_consul(world)
    register(world, port, "one")
    wait_until(lambda: world.ask()[0] == 200, "the instance gets requests")
    assert world.ask()[1] == "one"
    (listed,) = world.api.get("/v1/services/orders/instances")
    assert (listed["source"], listed["kind"]) == ("consul", "persistent")
    leader = ask(world, port, "GET", "status/leader")
    assert leader == f"127.0.0.1:{world.api_port}"
    assert ask(world, port, "GET", "status/peers") == [leader]
    ask(world, port, "PUT", "agent/check/fail/service:one")
    wait_until(lambda: world.ask()[0] == 503, "the critical instance gets none")
    ask(world, port, "PUT", "agent/check/pass/service:one")
    wait_until(lambda: world.ask()[0] == 200, "it gets requests again")
    ask(world, port, "PUT", "kv/kept", "fig")
    assert world.stop() == 0
    world.start()
    (found,) = ask(world, port, "GET", "health/service/orders?passing")
    assert found["Service"]["ID"] == "one"
    assert ask(world, port, "GET", "kv/kept")[0]["Key"] == "kept"
    assert world.ask()[1] == "one"


def test_checks_are_made_and_what_stays_critical_is_deregistered(world: World) -> None:
    port = with_consul(world)
    address = world.backend("checked")
    check = {
        "http": f"http://{address}/health",
        "interval": "200ms",
        "DeregisterCriticalServiceAfter": "500ms",
    }
    host, _, own = address.rpartition(":")
    body = {"Name": "orders", "ID": "one", "Address": host, "Port": int(own), "Check": check}
    ask(world, port, "PUT", "agent/service/register", body)

    def statuses() -> set[str]:
        return {each["Status"] for each in ask(world, port, "GET", "health/checks/orders")}

    wait_until(lambda: statuses() == {"passing"}, "the check passes")
    wait_until(lambda: world.ask() == (200, "checked"), "it gets requests")
    world.backends.pop("checked").stop()
    wait_until(lambda: "orders" not in ask(world, port, "GET", "catalog/services"), "it is gone")
    wait_until(lambda: world.ask()[0] == 503, "nothing is sent to it")


def test_nobody_is_let_in_without_the_token_or_from_outside_without_tls(world: World) -> None:
    port = with_consul(world)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/catalog/services", timeout=30)
    world.stop()
    world.write(world.configuration(consul={"listen": f"0.0.0.0:{port}"}))
    done = world.run("up")
    assert done.returncode != 0
    assert f"consul.listen is 0.0.0.0:{port}, which is not a loopback address" in done.stderr
    assert "Traceback" not in done.stderr
