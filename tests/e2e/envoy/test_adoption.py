from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from e2e.envoy.world import World, another, ask, is_running, wait_until
from moreton.envoy.identity import identify, write_identity
from support.waits import end_at_once

pytestmark = pytest.mark.e2e


async def test_envoy_serves_on_and_is_adopted_when_its_control_plane_is_killed(
    world: World,
) -> None:
    first = world.spawn()
    before = await asyncio.to_thread(first.ready)
    first.kill()
    assert await ask(world.port) == "dynamic"
    assert await ask(world.port, "/") == "done"
    second = world.spawn()
    after = await asyncio.to_thread(second.ready)
    assert after["adopted"]
    assert after["pid"] == before["pid"]
    second.say("stop")
    assert not is_running(before["pid"])


async def test_adopted_envoy_is_started_again_when_it_is_killed(world: World) -> None:
    first = world.spawn()
    before = (await asyncio.to_thread(first.ready))["pid"]
    first.say("detach")
    async with world.control_plane() as supervisor:
        assert supervisor.statistics().adopted
        os.kill(before, signal.SIGKILL)
        await another(supervisor, before)
        assert not supervisor.statistics().adopted
        assert await ask(world.port) == "dynamic"


async def test_pid_that_another_process_has_now_is_neither_adopted_nor_killed(
    world: World,
) -> None:
    stranger = subprocess.Popen(  # noqa: ASYNC220 - it does not talk
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        identity = identify(stranger.pid)
        assert identity is not None
        world.folder.mkdir()
        file = world.folder / "envoy.json"
        write_identity(file, identity)
        earlier = json.loads(file.read_text())
        earlier["started"] = str(int(earlier["started"]) - 1)  # its pid belonged to another
        file.write_text(json.dumps(earlier))
        async with world.control_plane() as supervisor:
            found = supervisor.statistics()
            assert not found.adopted
            assert found.pid != stranger.pid
            assert await ask(world.port) == "dynamic"
        assert stranger.poll() is None
    finally:
        stranger.kill()
        end_at_once(stranger)


async def test_envoy_that_hangs_is_replaced_and_ended(world: World) -> None:
    first = world.spawn()
    hung = (await asyncio.to_thread(first.ready))["pid"]
    first.say("detach")
    os.kill(hung, signal.SIGSTOP)
    async with world.control_plane() as supervisor:
        found = supervisor.statistics()
        assert not found.adopted
        assert found.pid != hung

        async def is_gone() -> bool:
            return not is_running(hung)

        await wait_until(is_gone, "the hung one was ended")
        assert await ask(world.port) == "dynamic"


async def test_envoy_is_never_lost_when_the_control_plane_is_killed_while_it_starts(
    world: World,
) -> None:
    adopted = started = 0
    for milliseconds in range(0, 1500, 250):
        spawned = world.spawn()
        await asyncio.sleep(milliseconds / 1000)  # a moment of the start, not a wait for anything
        spawned.kill()
    second = world.spawn()
    found = await asyncio.to_thread(second.ready)
    adopted, started = found["adopted"], found["pid"]
    assert [pid for pid in _envoys(world) if pid != started] == []
    assert adopted or started
    second.say("stop")
    assert _envoys(world) == []


def _envoys(world: World) -> list[int]:
    """Every process that was started with this world's bootstrap."""
    listed = subprocess.run(
        ["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True, timeout=30
    )
    lines = [line.split(None, 1) for line in listed.stdout.splitlines()]
    return [int(pid) for pid, args in lines if f"-c {world.folder}/bootstrap.json" in args]
