"""An instance is out when the proxies of every node know it, whichever node was asked."""

from __future__ import annotations

import os
import signal
from functools import partial

import pytest

from e2e.nodes.world import NAMES, Nodes
from e2e.up.world import World
from support.waits import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PLACE = "/v1/services/s/instances"


@pytest.mark.long
def test_drain_asked_at_one_node_waits_for_the_proxies_of_all(nodes_on_raft: Nodes) -> None:
    nodes = nodes_on_raft
    services = {"s": {"discover": True}}
    nodes.write(services=services, routes={"everything": {"path": "/*", "to": "s"}})
    nodes.start()
    a, b, c = (nodes.api(name) for name in NAMES)
    for label in "xy":
        address, port = nodes.worlds["a"].backend(label).split(":")
        a.call("POST", PLACE, {"id": label, "address": address, "port": int(port), "ttl": "60s"})
    for world in nodes.worlds.values():
        wait_until(partial(is_sent_to, world), "x is sent requests")
    envoy = nodes.worlds["c"].envoy_pid()
    os.kill(envoy, signal.SIGSTOP)
    try:
        found = b.call("POST", f"{PLACE}/x/drain", {"by": "me"}, query={"wait": "2"})
        assert not found["acknowledged"]
        assert {each["node"]: each["acknowledged"] for each in found["proxies"]} == {
            "a": True,
            "b": True,
            "c": False,
        }
        assert "of node c to acknowledge" in found["waits_for"]
    finally:
        os.kill(envoy, signal.SIGCONT)
    found = a.call("GET", f"{PLACE}/x/drain", query={"wait": "20"})
    assert found["idle"], found
    assert [nodes.worlds[name].ask()[1] for name in NAMES] == ["y"] * 3
    c.call("DELETE", f"{PLACE}/x/drain")
    again = c.call("POST", f"{PLACE}/x/drain", {"by": "me"}, query={"wait": "20"})
    assert again["idle"], "what the others told of the first drain does not count"
    leaders = {nodes.leader(name) for name in NAMES}
    assert len(leaders) == 1
    wait_until(lambda: len(events(nodes)) >= 5, "everything is told")
    told = [(each["kind"], each["by"]) for each in events(nodes)]
    assert told.count(("order-set", "me")) == 2, "the leader alone writes down what happens"
    assert told.count(("registered", "http")) == 2


def is_sent_to(world: World) -> bool:
    """Whether x answers there."""
    return world.ask()[1] == "x"


def events(nodes: Nodes) -> list[dict[str, str]]:
    """What any node tells of the service."""
    found = nodes.api("c").get("/v1/events", service="s")
    assert isinstance(found, list)
    return found
