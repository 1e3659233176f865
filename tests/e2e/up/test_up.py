from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import time
from contextlib import closing

import pytest

from e2e.up.world import World
from moreton.cli.client import ApiRefused
from moreton.envoy.admin import AdminClient
from moreton.envoy.identity import identify
from moreton.envoy.process.folder import EnvoyFolder
from support.waits import wait_until

pytestmark = pytest.mark.e2e
_CONNECTIONS = "/stats?filter=moreton_xds.upstream_cx_"
_ASKED = "/stats?filter=http.admin.downstream_rq_total"
_QUIET_SECONDS = 2.5


@pytest.fixture
def world(world: World) -> World:
    """Here it is started as users start it."""
    world.loads = True
    return world


def test_request_goes_through_and_weights_move_it(world: World) -> None:
    world.start()
    assert world.ask() == (200, "a")
    moved = world.run("weights", "everything", "a=0", "b=100")
    assert moved.returncode == 0, moved.stderr
    assert "a 0, b 100 (set by the API); applied 1/1" in moved.stdout
    assert world.ask() == (200, "b")
    assert world.run("weights", "everything", "--reset").returncode == 0
    assert world.ask() == (200, "a")


def test_envoy_that_comes_up_first_is_kept_waiting_and_does_not_ask_in_vain(world: World) -> None:
    world.start()
    admin = AdminClient(EnvoyFolder(world.folder / ".moreton/envoy").admin_socket)
    asked = asyncio.run(admin.get(_CONNECTIONS)).decode().splitlines()
    assert "cluster.moreton_xds.upstream_cx_connect_fail: 0" in asked


def test_envoy_is_asked_nothing_while_nothing_happens(world: World) -> None:
    world.start()
    admin = AdminClient(EnvoyFolder(world.folder / ".moreton/envoy").admin_socket)
    first = int(asyncio.run(admin.get(_ASKED)).split()[-1])
    time.sleep(_QUIET_SECONDS)
    second = int(asyncio.run(admin.get(_ASKED)).split()[-1])
    assert second == first + 1, "its main thread, which takes changes, answers for no reason"


def test_edit_is_applied_and_a_bad_one_refused_while_the_last_good_serves(world: World) -> None:
    world.start()
    edited = world.configuration(routes={"everything": {"path": "/*", "to": "b"}})
    world.write(edited)
    wait_until(lambda: world.ask() == (200, "b"), "the edit is in force")
    bad = world.configuration(routes={"everything": {"path": "/*", "to": "nobody"}})
    world.write(bad)
    faults = wait_until(lambda: world.api.get("/v1/status")["faults"], "the fault is shown")
    assert "'nobody', which no one defines" in faults[0]
    assert "moreton.yaml:" in faults[0]
    assert world.ask() == (200, "b")
    shown = world.run("status")
    assert "edit refused: route 'everything' sends to the service 'nobody'" in shown.stdout
    world.write(world.configuration())
    wait_until(lambda: world.ask() == (200, "a"), "the corrected edit is in force")
    assert world.api.get("/v1/status")["faults"] == []


def test_second_up_in_the_same_folder_is_refused_with_the_pid(world: World) -> None:
    world.start()
    assert world.child is not None
    second = world.run("up")
    assert second.returncode == 6
    assert f"process {world.child.pid} runs `moreton up`" in second.stderr
    assert "Traceback" not in second.stderr
    assert world.ask() == (200, "a")


@pytest.mark.parametrize("which", ["the API", 'gateway "public"'])
def test_port_in_use_is_one_message_with_port_and_holder(world: World, which: str) -> None:
    port = world.api_port if which == "the API" else world.port
    with socket.create_server(("127.0.0.1", port)):
        refused = world.run("up")
    assert refused.returncode == 6
    assert refused.stderr.count("\n") == 1, refused.stderr
    assert f"127.0.0.1:{port} is in use by process {os.getpid()}" in refused.stderr
    assert f"{which} cannot listen there" in refused.stderr


def test_bad_configuration_keeps_up_from_starting_with_every_fault(world: World) -> None:
    world.write(world.configuration(routes={"r": {"path": "x", "to": "a"}}, surprise=1))
    refused = world.run("up")
    assert refused.returncode == 3
    assert refused.stderr.count("error: ") == 2
    assert refused.stderr.count("moreton.yaml:") == 2


def test_term_stops_everything_and_hup_leaves_envoy_for_the_next(world: World) -> None:
    world.start()
    pid = world.envoy_pid()
    assert world.stop(signal.SIGHUP) == 0
    assert world.ask() == (200, "a")
    world.start()
    assert world.envoy_pid() == pid
    assert world.api.get("/v1/status")["envoy"]["adopted"] is True
    assert world.stop(signal.SIGTERM) == 0
    with pytest.raises(ConnectionRefusedError):
        world.ask()
    assert identify(pid) is None
    assert "Traceback" not in world.log()


def test_objects_and_weights_of_the_api_outlive_a_kill(world: World) -> None:
    world.start()
    api = world.api
    api.call("PUT", "/v1/routes/extra", {"path": "/extra/*", "to": "b"}, query={"wait": "applied"})
    api.call("PUT", "/v1/routes/everything/weights", {"a": 0, "b": 1}, query={"wait": "applied"})
    world.stop(signal.SIGKILL)
    world.start()
    assert world.ask("/extra/x") == (200, "b")
    assert world.ask("/") == (200, "b")
    assert world.api.get("/v1/routes/everything")["weights_set"] is True
    world.api.call("DELETE", "/v1/routes/extra")


def test_object_of_the_file_is_changed_in_the_file_only(world: World) -> None:
    world.start()
    with pytest.raises(ApiRefused, match=r"defined in moreton\.yaml:\d+:\d+") as caught:
        world.api.call("PUT", "/v1/routes/everything", {"path": "/*", "to": "b"})
    assert caught.value.status == 409
    assert world.ask() == (200, "a")


def test_service_that_a_route_needs_is_not_deleted(world: World) -> None:
    world.start()
    world.api.call("PUT", "/v1/services/c", {"addresses": [world.backend("c")]})
    world.api.call("PUT", "/v1/routes/r", {"path": "/c/*", "to": "c"}, query={"wait": "applied"})
    with pytest.raises(ApiRefused, match='service "c" is used by route "r"') as caught:
        world.api.call("DELETE", "/v1/services/c")
    assert caught.value.status == 409
    assert world.ask("/c/") == (200, "c")
    world.api.call("DELETE", "/v1/routes/r")
    world.api.call("DELETE", "/v1/services/c")
    wait_until(lambda: world.ask("/c/") == (200, "a"), "the catch-all takes over")


def test_newer_store_is_refused_and_left_alone(world: World) -> None:
    state = world.folder / ".moreton"
    world.start()
    world.stop()
    with closing(sqlite3.connect(state / "store.sqlite", isolation_level=None)) as store:
        store.execute("PRAGMA user_version = 99")
    store.close()
    refused = world.run("up")
    assert refused.returncode == 6
    assert "has format 99 and this version knows up to" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.long
@pytest.mark.parametrize("arguments", [["check"], ["check", "--config", "none.yaml"], ["status"]])
def test_command_that_tests_fork_says_what_a_started_one_says(
    world: World, arguments: list[str]
) -> None:
    said = []
    for world.loads in (True, False):
        ended = world.run(*arguments)
        said.append((ended.returncode, ended.stdout, ended.stderr))
    assert said[0] == said[1]
    assert any(said[0][1:])
