from __future__ import annotations

import time
from typing import Any

import pytest

from e2e.up.world import World
from moreton.cli.client import ApiRefused
from support.waits import wait_until

pytestmark = pytest.mark.e2e

# Python's `re` takes a lookahead, RE2 does not: only Envoy can say so.
LOOKAHEAD = {"path": "/beta/*", "headers": {"x-beta": {"regex": "(?=a)b"}}, "to": "b"}


def rejected(world: World, name: str) -> Any:
    found = world.status_of("routes", name)
    return found if found["state"] == "rejected" else None


def test_refused_route_shows_its_reason_and_place_within_a_second_and_others_go_on(
    world: World,
) -> None:
    world.start()
    good = world.configuration()["routes"]
    world.write(world.configuration(routes={**good, "beta": LOOKAHEAD}))
    wait_until(lambda: "beta" in world.api_names("routes"), "the edit was taken")
    start = time.monotonic()
    found = wait_until(lambda: rejected(world, "beta"), "the refusal is shown")
    assert time.monotonic() - start < 1.0
    assert found["reason"] == "invalid perl operator: (?="
    shown = world.run("status").stdout
    line = next(line for line in shown.splitlines() if line.startswith("route beta"))
    assert "rejected: invalid perl operator: (?=" in line
    assert "moreton.yaml:" in line
    assert world.ask("/beta/x", x_beta="b") == (200, "a")
    # Everything else still moves.
    extra = {"path": "/extra/*", "to": "b"}
    world.api.call("PUT", "/v1/routes/extra", extra, query={"wait": "applied"})
    assert world.ask("/extra/x") == (200, "b")
    world.write(world.configuration(routes={**good, "beta": {"path": "/beta/*", "to": "b"}}))
    wait_until(lambda: world.ask("/beta/x") == (200, "b"), "the corrected route is in force")


def test_last_good_version_of_a_refused_object_stays_in_force(world: World) -> None:
    world.start()
    api = world.api
    api.call("PUT", "/v1/routes/beta", {"path": "/beta/*", "to": "b"}, query={"wait": "applied"})
    with pytest.raises(ApiRefused, match=r"a proxy refused it \(invalid perl operator"):
        api.call("PUT", "/v1/routes/beta", LOOKAHEAD, query={"wait": "applied"})
    assert world.ask("/beta/x") == (200, "b")
    api.call("PUT", "/v1/routes/beta", {"path": "/beta/*", "to": "a"}, query={"wait": "applied"})
    assert world.ask("/beta/x") == (200, "a")


def test_culprits_are_found_among_many_changed_routes(world: World) -> None:
    world.start()
    routes: dict[str, Any] = dict(world.configuration()["routes"])
    routes |= {f"r{number}": {"path": f"/r{number}/*", "to": "b"} for number in range(20)}
    routes["r7"] = {**LOOKAHEAD, "path": "/r7/*"}
    routes["r13"] = {**LOOKAHEAD, "path": "/r13/*"}
    world.write(world.configuration(routes=routes))
    wait_until(lambda: "r19" in world.api_names("routes"), "the edit was taken")
    wait_until(lambda: rejected(world, "r7") and rejected(world, "r13"), "both are found")
    wait_until(lambda: world.ask("/r19/x") == (200, "b"), "the others are in force")
    states = {one["name"]: one["status"]["state"] for one in world.api.get("/v1/routes")}
    wait_until(
        lambda: world.api.get("/v1/status")["objects"]["route"] == {"applied": 19, "rejected": 2},
        f"only the two are refused: {states}",
    )
    assert world.ask("/r7/x", x_beta="b") == (200, "a")


def test_start_with_a_refused_route_serves_the_others(world: World) -> None:
    good = world.configuration()["routes"]
    world.write(world.configuration(routes={**good, "beta": LOOKAHEAD}))
    world.start()
    assert world.ask("/") == (200, "a")
    assert rejected(world, "beta")
