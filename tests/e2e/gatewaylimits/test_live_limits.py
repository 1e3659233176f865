"""Limits of a running gateway: the first one, one that begins to act, one that no proxy takes."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any, Self

import pytest

from e2e.up.world import World, world_in
from support.waits import join_all, wait_until

pytestmark = pytest.mark.e2e

SLOW = "1/h"
LOGINS = {"limit": SLOW, "burst": 3, "match": {"paths": "/login"}}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_in(tmp_path_factory.mktemp("limits") / "shop") as world:
        world.start()
        yield world


class Client:
    """Asks for `/` all the time over one connection; *statuses* counts the answers."""

    def __init__(self, world: World) -> None:
        self.statuses: Counter[int] = Counter()
        self.connections = 0
        self._world = world
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        join_all([self._thread])

    def _run(self) -> None:
        while not self._end.is_set():
            self.connections += 1
            client = http.client.HTTPConnection("127.0.0.1", self._world.port, timeout=10)
            with contextlib.closing(client):
                while not self._end.is_set():
                    client.request("GET", "/")
                    answer = client.getresponse()
                    answer.read()
                    self.statuses[answer.status] += 1
                    if answer.will_close:
                        break
                    self._end.wait(0.001)


def rejected(world: World, name: str) -> dict[str, Any]:
    """What the control plane says of a limit, once that is that it was rejected."""
    for one in world.api.get("/v1/status")["attention"]:
        if (one["kind"], one["name"]) == ("limit", name) and one["status"]["state"] == "rejected":
            return dict(one)
    return {}


def set_limits(world: World, **limits: Any) -> None:
    """Write them, and return once the proxy has them."""
    world.write(world.configuration(limits=limits))
    wanted = {"applied": len(limits)} if limits else {}
    wait_until(
        lambda: world.api.get("/v1/status")["objects"]["limit"] == wanted, "all limits are applied"
    )


def statuses(world: World, path: str, count: int) -> list[int]:
    return [world.ask(path)[0] for _ in range(count)]


def test_first_limit_neither_refuses_nor_closes_what_it_is_not_about(world: World) -> None:
    set_limits(world)
    with Client(world) as client:
        wait_until(lambda: client.statuses[200] > 20, "there is traffic")
        set_limits(
            world,
            logins=LOGINS,
            of_route={"limit": "1000000/s", "match": {"routes": "everything"}},
            arrivals={"limit": "100000/s", "count": "connections", "verdict": "drop"},
            work={"limit": "100 at once", "match": {"services": "a"}},
        )
        assert statuses(world, "/login", 4) == [200, 200, 200, 429]
        set_limits(world)  # of what is no more, no state tells that the proxy knows
        wait_until(lambda: statuses(world, "/login", 1) == [200], "the limit is gone")
        assert statuses(world, "/login", 4) == [200, 200, 200, 200]
        seen = client.statuses[200]
        wait_until(lambda: client.statuses[200] > seen + 20, "traffic goes on")
    assert set(client.statuses) == {200}
    assert client.connections == 1


def test_rule_that_begins_to_act_has_counted_before(world: World) -> None:
    set_limits(world, logins={**LOGINS, "mode": "shadow"})
    assert statuses(world, "/login", 4) == [200, 200, 200, 200]
    world.write(world.configuration(limits={"logins": LOGINS}))
    wait_until(lambda: world.ask("/login")[0] == 429, "the rule acts, on the bucket that it had")
    world.write(world.configuration(limits={"logins": {**LOGINS, "mode": "off"}}))
    wait_until(lambda: world.ask("/login")[0] == 200, "the rule is off")


def test_limit_that_no_proxy_takes_is_shown_with_its_place_and_others_go_on(world: World) -> None:
    set_limits(world)
    # Python's `re` takes a lookahead, RE2 does not: only Envoy can say so.
    bad = {"limit": SLOW, "match": {"headers": {"x-beta": {"regex": "(?=a)b"}}}}
    world.write(world.configuration(limits={"bad": bad, "logins": LOGINS}))
    found = wait_until(lambda: rejected(world, "bad"), "the refusal is shown")
    assert "invalid perl operator" in found["status"]["reason"]
    assert "moreton.yaml:" in found["source"]["where"]
    wait_until(lambda: statuses(world, "/login", 4)[-1] == 429, "the other limit is in force")
    assert world.ask("/", x_beta="b")[0] == 200
    set_limits(world, logins=LOGINS)


def test_change_of_a_rule_leaves_the_buckets_of_other_routes(world: World) -> None:
    routes = {name: {"path": f"/{name}", "to": "a"} for name in ("one", "two")}
    rules = {name: {"limit": SLOW, "burst": 2, "match": {"routes": name}} for name in routes}

    def change(**limits: Any) -> None:
        world.write(world.configuration(routes=routes, limits=limits))
        wait_until(
            lambda: world.api.get("/v1/status")["objects"]["limit"] == {"applied": len(limits)},
            "all limits are applied",
        )

    set_limits(world)
    change(**rules)
    assert statuses(world, "/one", 3) == [200, 200, 429]
    assert statuses(world, "/two", 3) == [200, 200, 429]
    change(**{**rules, "two": {**rules["two"], "burst": 3}})
    wait_until(lambda: statuses(world, "/two", 1) == [200], "the rule that changed begins anew")
    assert statuses(world, "/one", 2) == [429, 429]
