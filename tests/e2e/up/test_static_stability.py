from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.up.world import World
from moreton.cli.client import ApiRefused
from moreton.testing.load import SteadyLoad
from support.waits import wait_until

pytestmark = pytest.mark.e2e

TMPFS_BYTES = 4 * 1024 * 1024


async def test_no_request_fails_while_the_control_plane_is_killed_and_started(
    world: World,
) -> None:
    world.start()
    pid = world.envoy_pid()
    load = SteadyLoad(f"http://127.0.0.1:{world.port}/", rate=300.0, connections=4)
    async with load:
        for round_number in range(2):
            await asyncio.to_thread(world.stop, signal.SIGKILL)
            await _wait_requests(load, load.report.requests + 30)
            await asyncio.to_thread(world.start)
            weights = {"a": round_number % 2, "b": 1 - round_number % 2}
            await asyncio.to_thread(
                world.api.call,
                "PUT",
                "/v1/routes/everything/weights",
                weights,
                query={"wait": "applied"},
            )
    assert world.envoy_pid() == pid
    assert load.report.requests > 100
    assert load.report.failures == 0, load.report.outcomes
    assert load.report.resets + load.report.closes == 0
    assert load.report.labels["b"] > 0


async def test_no_request_fails_while_a_service_gets_its_first_instance_and_loses_it(
    world: World,
) -> None:
    address, port = world.backend("b").split(":")
    services = {"a": {"addresses": [world.backend("a")]}, "b": {"discover": True}}
    routes = {"everything": {"path": "/*", "to": {"a": 50, "b": 50}}}
    world.write(world.configuration(services=services, routes=routes))
    world.start()
    instance = {"id": "b1", "address": address, "port": int(port), "ttl": "1m"}
    place = "/v1/services/b/instances"
    load = SteadyLoad(f"http://127.0.0.1:{world.port}/", rate=1500.0, connections=16)
    async with load:
        for _ in range(25):
            before = load.report.labels["b"]
            await asyncio.to_thread(world.api.call, "POST", place, instance)
            while load.report.labels["b"] == before:
                await load.wait_requests(load.report.requests + 1)
            await asyncio.to_thread(world.api.call, "DELETE", f"{place}/b1")
            await load.wait_requests(load.report.requests + 50)
    assert set(load.report.outcomes) == {"200"}


async def _wait_requests(load: SteadyLoad, count: int) -> None:
    await asyncio.to_thread(wait_until, lambda: load.report.requests >= count, "traffic goes on")


def test_envoy_that_died_is_started_again_with_everything(world: World) -> None:
    world.start()
    pid = world.envoy_pid()
    os.kill(pid, signal.SIGKILL)

    def is_back() -> bool:
        with contextlib.suppress(OSError):
            return world.ask() == (200, "a")
        return False

    wait_until(is_back, "a new Envoy serves")
    assert world.envoy_pid() != pid
    told = "ready, started again 1 time, the last one ended: it left no word: killed"
    wait_until(lambda: told in world.run("status").stdout, "the status tells of it")


@pytest.mark.skipif(os.geteuid() != 0, reason="NEEDS ROOT: mounts a small tmpfs to fill it")
def test_full_disk_keeps_serving_refuses_changes_and_says_so(world: World) -> None:
    state = world.folder / ".moreton"
    state.mkdir(parents=True)
    with _small_disk(state):
        world.start()
        _fill(state)
        with pytest.raises(ApiRefused, match=r"disk .* is full") as caught:
            world.api.call("PUT", "/v1/routes/everything/weights", {"a": 0, "b": 100})
        assert caught.value.status == 507
        assert world.ask() == (200, "a")
        assert "full" in world.run("status").stdout
        (state / "filler").unlink()
        world.api.call(
            "PUT", "/v1/routes/everything/weights", {"a": 0, "b": 1}, query={"wait": "applied"}
        )
        assert world.ask() == (200, "b")
        assert "full" not in world.run("status").stdout
        world.stop()


def test_envoy_starts_cold_from_the_last_good_and_is_taken_over(world: World) -> None:
    world.start()
    world.api.call("PUT", "/v1/routes/extra", {"path": "/extra/*", "to": "b"})
    saved = world.folder / ".moreton" / "envoy" / "last-good"
    wait_until(lambda: any(b"extra" in each.read_bytes() for each in _files(saved)), "it is saved")
    world.stop(signal.SIGTERM)
    with pytest.raises(ConnectionRefusedError):
        world.ask()
    cold = world.run("up", "--last-good")
    assert cold.returncode == 0, cold.stderr
    assert world.ask("/") == (200, "a")
    assert world.ask("/extra/x") == (200, "b")
    world.start()
    assert world.ask("/extra/x") == (200, "b")


def _files(folder: Path) -> list[Path]:
    return list(folder.glob("*.pb")) if folder.exists() else []


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    mount = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, timeout=30)
    if mounted.returncode != 0:
        pytest.skip(f"NO TMPFS HERE: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=True, timeout=30)


def _fill(folder: Path) -> None:
    with (folder / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(b"\0" * 4096)
