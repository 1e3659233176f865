"""Three control planes over one etcd: what one is told, all do."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from e2e.nodes.world import NAMES, Living, Nodes, answers
from e2e.up.world import World
from moreton.cli.client import Api, ApiRefused
from moreton.registry.client import register
from support.etcd_server import EtcdServer
from support.ports import free_port
from support.waits import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

WEIGHTS = "/v1/routes/everything/weights"
# Python's `re` takes a lookahead, RE2 does not: only Envoy can say so.
LOOKAHEAD = {"path": "/beta/*", "headers": {"x-beta": {"regex": "(?=a)b"}}, "to": "b"}
MOVE = {
    "route": "everything",
    "from": "a",
    "to": "b",
    "stages": [{"share": "10%", "hold": "1h"}, "50%", "100%"],
    "hold": "0",
    "requests": 0,
    "soak": "0",
    "answer_within": "0",
    "gates": {"errors": {"tolerance": "20%"}, "latency": None},
}
APPLIED = {"wait": "applied", "timeout": "30"}


def answer(world: World, path: str, expected: tuple[int, str]) -> Callable[[], bool]:
    return lambda: world.ask(path) == expected


def troubles(nodes: Nodes, name: str) -> dict[str, str]:
    found = nodes.api(name).get("/v1/status")["troubles"]
    assert isinstance(found, dict)
    return found


def in_trouble(nodes: Nodes, name: str, what: str) -> Callable[[], bool]:
    return lambda: what in troubles(nodes, name)


def well(nodes: Nodes, name: str) -> Callable[[], bool]:
    return lambda: not troubles(nodes, name)


def test_what_is_told_to_one_node_is_in_force_at_all_when_the_answer_comes(living: Living) -> None:
    nodes = living.nodes
    a, b, c = (nodes.api(name) for name in NAMES)
    a.call("PUT", WEIGHTS, {"a": 0, "b": 1}, query=APPLIED)
    assert [world.ask() for world in nodes.worlds.values()] == [(200, "b")] * 3
    b.call("PUT", "/v1/services/s", {"discover": True})
    c.call("PUT", "/v1/routes/extra", {"path": "/extra/*", "to": "s"}, query=APPLIED)
    address, port = nodes.worlds["a"].backend("c").split(":")
    a.call("POST", "/v1/services/s/instances", {"address": address, "port": int(port)})
    for name, world in nodes.worlds.items():
        wait_until(answer(world, "/extra/x", (200, "c")), f"{name} sends to the instance")
    with pytest.raises(ApiRefused, match=r"a proxy refused it .*invalid perl operator") as caught:
        b.call("PUT", "/v1/routes/beta", LOOKAHEAD, query=APPLIED)
    assert caught.value.status == 422
    # One refusal is enough for the answer: the other proxies' may be on their way.
    for api in (a, b, c):
        wait_until(partial(is_rejected, api, "/v1/routes/beta"), "every node knows of the refusal")
    leaders = {nodes.leader(name) for name in NAMES}
    assert len(leaders) == 1
    leader = leaders.pop()
    for name in NAMES:
        assert (f"moreton_controlplane_leader {float(name == leader)}") in metrics(nodes, name)
        assert "moreton_controlplane_nodes 3.0" in metrics(nodes, name)
    shown = nodes.worlds["b"].run("status").stdout
    assert f"node b, leader {leader}" in shown
    assert all(f"  {name}: http://127.0.0.1:" in shown for name in NAMES)


def is_rejected(api: Api, path: str) -> bool:
    return bool(api.get(path)["status"]["state"] == "rejected")


def metrics(nodes: Nodes, name: str) -> str:
    world = nodes.worlds[name]
    token = (world.folder / ".moreton" / "token").read_text().strip()
    request = urllib.request.Request(f"http://127.0.0.1:{world.api_port}/metrics")
    request.add_header("authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=30) as found:  # noqa: S310 - as above
        text = found.read()
    assert isinstance(text, bytes)
    return text.decode()


def test_commands_and_services_go_on_at_another_node(living: Living) -> None:
    nodes = living.nodes
    world = nodes.worlds["c"]
    world.backend("c")
    nodes.api("a").call("PUT", "/v1/services/s", {"discover": True})
    nodes.api("a").call("PUT", "/v1/routes/r", {"path": "/s/*", "to": "s"}, query=APPLIED)
    address, port = world.backend("c").split(":")
    urls = ",".join(f"http://127.0.0.1:{nodes.worlds[name].api_port}" for name in "ab")
    token = (world.folder / ".moreton" / "token").read_text().strip()
    with register("s", port=int(port), address=address, ttl="3s", api=urls, token=token):
        wait_until(answer(world, "/s/x", (200, "c")), "the instance is known")
        nodes.worlds["a"].stop(signal.SIGKILL)
        until = time.monotonic() + 4.5  # its time to live, and half of it
        while time.monotonic() < until:
            assert world.ask("/s/x") == (200, "c")
    wait_until(lambda: world.ask("/s/x")[0] == 503, "it has left, by the other node")
    # In the folder of the node that is gone, commands ask the others.
    moved = nodes.worlds["a"].run("weights", "everything", "a=0", "b=1", "--no-wait")
    assert moved.returncode == 0, moved.stderr
    wait_until(answer(nodes.worlds["b"], "/", (200, "b")), "the change arrives")
    nodes.worlds["a"].start()
    assert nodes.worlds["a"].ask() == (200, "b")


def test_leader_that_was_paused_is_replaced_and_comes_back_as_another(living: Living) -> None:
    nodes = living.nodes
    before = nodes.document("a")
    paused = nodes.worlds[before["leader"]]
    assert paused.child is not None
    paused.child.send_signal(signal.SIGSTOP)
    others = nodes.survivors(before["leader"])
    try:
        for name in others:
            wait_until(lead_by_another(nodes, name, before["token"]), f"{name} has another leader")
            wait_until(knows_only(nodes, name, others), f"{name} takes it for gone")
        nodes.api(others[0]).call("PUT", WEIGHTS, {"a": 0, "b": 1}, query=APPLIED)
        assert paused.ask() == (200, "a"), "its proxy goes on with what it has"
    finally:
        paused.child.send_signal(signal.SIGCONT)
    wait_until(answer(paused, "/", (200, "b")), "it catches up")
    for name in NAMES:
        wait_until(knows_only(nodes, name, NAMES), f"{name} knows all again")
        wait_until(lead_by_another(nodes, name, before["token"]), "the term before is over")
    assert not troubles(nodes, before["leader"])


def lead_by_another(nodes: Nodes, name: str, token: int) -> Callable[[], bool]:
    return lambda: (nodes.document(name)["token"] or 0) > token


def knows_only(nodes: Nodes, name: str, expected: Sequence[str]) -> Callable[[], bool]:
    return lambda: nodes.known_to(name) == set(expected)


def test_node_that_serves_another_file_is_shown_with_what_differs(living: Living) -> None:
    nodes = living.nodes
    assert "moreton.yaml" not in troubles(nodes, "a")
    routes: dict[str, Any] = {"everything": {"path": "/*", "to": {"a": 100, "b": 0}}}
    nodes.write_one("b", routes={**routes, "more": {"path": "/more/*", "to": "b"}})
    for name in NAMES:
        wait_until(in_trouble(nodes, name, "moreton.yaml"), f"{name} shows it")
        assert 'route "more": b has it, a, c have none' in troubles(nodes, name)["moreton.yaml"]
    assert "trouble: moreton.yaml: the nodes do not" in nodes.worlds["c"].run("status").stdout
    nodes.write_one("b")
    for name in NAMES:
        wait_until(well(nodes, name), "it is over")


@pytest.mark.long
def test_node_with_the_name_of_a_living_one_is_refused(nodes: Nodes) -> None:
    one, other = nodes.worlds["a"], nodes.worlds["b"]
    one.start()
    refused = other.run("up", "--node", "a")
    assert refused.returncode == 6
    assert f"another node is called 'a', process {one.child.pid if one.child else 0} on" in (
        refused.stderr
    )
    assert "Traceback" not in refused.stderr
    assert "Envoy stops" in refused.stderr  # it had begun while the store was asked
    begun = other.folder / ".moreton" / "envoy" / "bootstrap.json"
    running = subprocess.run(
        ["ps", "-A", "-o", "args"], capture_output=True, text=True, check=True, timeout=30
    )
    assert begun.exists()
    assert str(begun) not in running.stdout
    assert nodes.known_to("a") == {"a"}
    odd = other.run("up", "--node", "a/b")
    assert odd.returncode == 2
    assert "is not a node's name" in odd.stderr
    other.start()
    wait_until(lambda: nodes.known_to("a") == {"a", "b"}, "under its own name it is welcome")


def test_store_of_another_cluster_is_refused_and_the_proxy_goes_on(nodes: Nodes) -> None:
    world = nodes.worlds["a"]
    world.start()
    nodes.api("a").call("PUT", WEIGHTS, {"a": 0, "b": 1}, query=APPLIED)
    world.stop(signal.SIGKILL)
    wrong = world.run("up", "--store", nodes.stores["a"].replace("/shop", "/other"))
    assert wrong.returncode == 6
    assert "is empty, and this node belongs to the cluster" in wrong.stderr
    assert world.ask() == (200, "b")
    world.start()


def test_outage_of_the_store_fails_no_request_and_ends_by_itself(living: Living) -> None:
    nodes, etcd = living.nodes, living.etcd
    etcd.kill()
    for name in NAMES:
        wait_until(in_trouble(nodes, name, "cut off from the store"), f"{name} notices")
    world = nodes.worlds["a"]
    refused = world.run("weights", "everything", "a=0", "b=1")
    assert refused.returncode == 5
    assert "etcd" in refused.stderr
    assert {name: each.ask() for name, each in nodes.worlds.items()} == dict.fromkeys(
        NAMES, (200, "a")
    )
    # A proxy that starts anew gets everything from its node, which knows it all.
    pid = world.envoy_pid()
    os.kill(pid, signal.SIGKILL)

    def is_back() -> bool:
        with contextlib.suppress(OSError):
            return world.ask() == (200, "a")
        return False

    wait_until(is_back, "a new Envoy serves")
    assert world.envoy_pid() != pid
    etcd.start()
    for name in NAMES:
        wait_until(well(nodes, name), f"{name} is well again")
    moved = world.run("weights", "everything", "a=0", "b=1")
    assert moved.returncode == 0, moved.stderr
    assert {each.ask() for each in nodes.worlds.values()} == {(200, "b")}


@pytest.mark.long
def test_rollout_goes_on_where_it_was_when_its_leader_is_killed(living: Living) -> None:
    nodes = living.nodes
    nodes.write(migrations={"move": MOVE})
    for name in NAMES:
        wait_until(partial(plans, nodes, name, "move"), f"{name} knows the migration")
    dead, token = nodes.leader("a"), nodes.document("a")["token"]
    assert dead is not None
    others = nodes.survivors(dead)
    api = nodes.api(others[0])
    api.call("POST", "/v1/migrations/move/start")
    api.call("POST", "/v1/migrations/move/advance", {"force": True}, query=APPLIED)
    before = api.get("/v1/migrations/move/history")
    assert nodes.worlds[dead].stop(signal.SIGKILL) == -signal.SIGKILL
    for name in others:
        wait_until(lead_by_another(nodes, name, token), f"{name} has another leader")
        assert is_at(nodes, name, "running", 0.5), "what it did before counts"
    assert nodes.api(others[1]).get("/v1/migrations/move/history") == before

    def is_done() -> bool:
        for name, number in itertools.product(others, range(10)):
            assert nodes.worlds[name].ask(cookie=f"moreton_user=u{number}")[0] == 200
        return all(is_at(nodes, name, "done", 1.0) for name in others)

    wait_until(is_done, f"it goes on: {api.get('/v1/migrations/move')}")
    after = api.get("/v1/migrations/move/history")
    assert after[: len(before)] == before
    assert [(e["what"], e["share"], e["by"]) for e in after[2:]] == [("went on", 1.0, "gates")] * 2
    nodes.write()


def plans(nodes: Nodes, name: str, migration: str) -> bool:
    found = nodes.api(name).get("/v1/migrations")
    return migration in {each["name"] for each in found}


def is_at(nodes: Nodes, name: str, phase: str, share: float) -> bool:
    found = nodes.api(name).get("/v1/migrations/move")
    return (found["phase"], found["share"]) == (phase, share)


@pytest.mark.long
def test_node_that_starts_without_its_store_serves_the_last_good_and_then_takes_over(
    nodes: Nodes, etcd: EtcdServer
) -> None:
    world = nodes.worlds["a"]
    world.start()
    nodes.api("a").call("PUT", WEIGHTS, {"a": 0, "b": 1}, query=APPLIED)
    saved = world.folder / ".moreton" / "envoy" / "last-good"
    wait_until(lambda: list(saved.glob("*.pb")), "the last good is saved")
    world.stop(signal.SIGTERM)
    etcd.kill()
    world.spawn()

    def serves() -> bool:
        with contextlib.suppress(OSError):
            return world.ask()[0] == 200
        return False

    wait_until(serves, "the last good is served")
    assert "waiting for the store etcd://127.0.0.1:" in world.log()
    assert not answers(world)
    etcd.start()
    world.wait_ready()
    assert world.ask() == (200, "b")


def test_wrong_addresses_of_a_store_are_refused_at_once(nodes: Nodes) -> None:
    world = nodes.worlds["a"]
    for url, code in (("what://x", 6), ("etcd://host:port", 6)):
        began = time.monotonic()
        refused = world.run("up", "--store", url)
        assert refused.returncode == code
        assert refused.stderr.startswith("error: "), refused.stderr
        assert time.monotonic() - began < 10


@pytest.mark.long
def test_nodes_that_are_their_own_store_are_made_one_by_one_by_commands(
    nodes_to_make: Nodes,
) -> None:
    worlds = nodes_to_make.worlds
    places = {name: f"127.0.0.1:{free_port()}" for name in NAMES}
    first = worlds["a"]
    made = first.run("cluster", "init", "store", "--address", places["a"])
    assert made.returncode == 0, made.stderr
    first.start()
    nodes_to_make.api("a").call("PUT", WEIGHTS, {"a": 0, "b": 1}, query=APPLIED)
    secret = first.folder / "store" / "secret"
    member = ("--member", places["a"], "--secret-file", str(secret))
    for name in "bc":
        joined = worlds[name].run("cluster", "join", "store", "--address", places[name], *member)
        assert joined.returncode == 0, joined.stderr
        worlds[name].start()
        assert worlds[name].ask() == (200, "b"), "it has what was told to the first"

    def all_vote() -> bool:
        shown = first.run("cluster", "status", "store", "--json")
        roles = [each["role"] for each in json.loads(shown.stdout or "{}").get("nodes", ())]
        return sorted(roles) == ["follower", "follower", "leader"]

    wait_until(all_vote, "all vote")
    first.stop(signal.SIGKILL)
    moved = worlds["b"].run("weights", "everything", "a=1", "b=0", "--no-wait")
    assert moved.returncode == 0, moved.stderr
    wait_until(answer(worlds["c"], "/", (200, "a")), "the two that are left go on")
    worlds["b"].stop(signal.SIGKILL)
    alone = worlds["c"].run("weights", "everything", "a=0", "b=1", "--no-wait")
    assert alone.returncode == 5
    assert "majority" in alone.stderr, alone.stderr
    assert {world.ask()[0] for world in worlds.values()} == {200}
    first.start()
    again = worlds["c"].run("weights", "everything", "a=0", "b=1", "--no-wait")
    assert again.returncode == 0, again.stderr
