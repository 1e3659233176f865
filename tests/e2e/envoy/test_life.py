from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import stat
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from e2e.envoy.world import (
    World,
    another,
    ask,
    binary,
    is_running,
    seconds_since,
    wait_until,
    xds_for,
)
from moreton.envoy.core.resources import Snapshot
from moreton.envoy.process.allocator import VARIABLE, allocator_environment
from moreton.envoy.process.folder import SOCKET_FOLDER_BYTES_MAX, EnvoySupervised
from moreton.envoy.supervisor import EnvoyDied, EnvoyNotReady

pytestmark = pytest.mark.e2e

_KERNEL = os.uname()
BY_CPU = allocator_environment({}, system=_KERNEL.sysname, release=_KERNEL.release)


async def test_envoy_starts_serves_and_leaves_nothing_behind(world: World) -> None:
    async with world.control_plane() as supervisor:
        found = supervisor.statistics()
        assert found.ready
        assert not found.adopted
        assert await ask(world.port) == "dynamic"
        assert await ask(world.port, "/") == "done"
        assert await supervisor.admin.listeners() == [f"127.0.0.1:{world.port}"]
        assert stat.S_IMODE(supervisor.xds_socket.with_name("admin.sock").stat().st_mode) == 0o600
        facts = json.loads((world.folder / "envoy.json").read_text())["facts"]
        shared = Path(f"/dev/shm/envoy_shared_memory_{facts['base_id']}0")  # noqa: S108 - Envoy's
        assert shared.exists()
    assert found.pid is not None
    assert not is_running(found.pid)
    assert not (world.folder / "envoy.json").exists()
    assert not shared.exists()


async def test_envoy_comes_back_when_it_is_killed(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with world.control_plane() as supervisor:
        before = supervisor.statistics().pid
        assert before is not None
        began = time.monotonic()
        os.kill(before, signal.SIGKILL)
        await another(supervisor, before)
        assert await ask(world.port) == "dynamic"
        # The first restart does not wait: what passes is Envoy's own start.
        assert seconds_since(began) < 5
        found = supervisor.statistics()
        assert found.restarts == 1
        assert found.last_exit.startswith("it left no word: killed")
        assert f"Envoy ended, {found.last_exit}: starting it again" in caplog.messages


async def test_envoy_without_configuration_is_not_ready(world: World) -> None:
    supervisor = world.supervisor()
    await supervisor.start()
    try:
        with pytest.raises(EnvoyNotReady, match=r"not ready after 1 s \((pre )?initializing\)"):
            await supervisor.wait_ready(1)
        async with xds_for(supervisor, Snapshot()):  # nothing to serve is a configuration, too
            await supervisor.wait_ready()
    finally:
        await supervisor.stop()


async def test_bootstrap_that_envoy_refuses_is_one_message_at_once(world: World) -> None:
    supervisor = world.supervisor()
    (supervisor.xds_socket.parent / "admin.sock").mkdir()  # Envoy cannot listen there
    began = time.monotonic()
    await supervisor.start()
    try:
        with pytest.raises(EnvoyDied, match=r"ended before it served, .*admin\.sock"):
            await supervisor.wait_ready()
        assert seconds_since(began) < 5
    finally:
        await supervisor.stop()


async def test_second_supervisor_is_refused_and_disturbs_nothing(world: World) -> None:
    async with world.control_plane() as supervisor:
        with pytest.raises(EnvoySupervised, match=str(world.folder)):
            await world.supervisor().start()
        assert supervisor.statistics().ready
        assert await ask(world.port) == "dynamic"


async def test_state_folder_with_a_long_path_puts_its_sockets_elsewhere(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world.folder = tmp_path / ("long" * 30) / "envoy"
    with TemporaryDirectory(prefix="run-") as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        async with world.control_plane() as supervisor:
            assert await ask(world.port) == "dynamic"
            assert supervisor.xds_socket.is_relative_to(runtime)
            assert stat.S_IMODE(supervisor.xds_socket.parent.stat().st_mode) == 0o700
            place = supervisor.xds_socket
        assert list(Path(runtime).iterdir()) == []  # nothing is left there at the end
        # A later login may have another place: what is running is still found.
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        assert world.supervisor().xds_socket == place


async def test_longest_state_folder_with_room_for_sockets_holds_them_itself(world: World) -> None:
    with TemporaryDirectory(prefix="m-", dir="/tmp") as short:
        world.folder = Path(short, "x" * (SOCKET_FOLDER_BYTES_MAX - len(short) - 1))
        async with world.control_plane() as supervisor:
            assert supervisor.xds_socket.parent == world.folder
            assert supervisor.statistics().restarts == 0
            assert await ask(world.port) == "dynamic"


async def test_slow_request_finishes_when_envoy_is_stopped(world: World) -> None:
    async with world.control_plane() as supervisor:
        asked = asyncio.create_task(ask(world.port, "/slow"))
        await world.backend.slow.wait()
        stopping = asyncio.create_task(supervisor.stop())

        async def drains() -> bool:
            return not await supervisor.admin.is_ready()

        await wait_until(drains, "Envoy drains")
        assert not stopping.done()
        world.backend.finish.set()
        assert await asked == "done"
        began = time.monotonic()
        await stopping
        assert seconds_since(began) < 2  # not the whole drain time
        assert await ask(world.port) is None


async def test_request_without_end_is_cut_after_the_drain_time(world: World) -> None:
    async with world.control_plane() as supervisor:
        asked = asyncio.create_task(ask(world.port, "/slow"))
        await world.backend.slow.wait()
        began = time.monotonic()
        await supervisor.stop()
        assert 2.5 < seconds_since(began) < 6
        with pytest.raises((ConnectionError, AssertionError)):
            await asked


async def test_idle_connection_does_not_hold_up_the_end(world: World) -> None:
    async with world.control_plane() as supervisor:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(b"GET /who HTTP/1.1\r\nhost: a\r\n\r\n")
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        began = time.monotonic()
        await supervisor.stop()
        assert seconds_since(began) < 2
        writer.close()


def tunables_of(pid: int | None) -> str:
    """What glibc is told in the environment of *pid*."""
    assert pid is not None
    settings = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return next((each for each in settings if each.startswith(VARIABLE)), "")


@pytest.mark.skipif(not BY_CPU, reason="this kernel crashes an Envoy that caches by CPU")
async def test_envoy_that_crashed_comes_back_with_caches_by_thread(world: World) -> None:
    async with world.control_plane() as supervisor:
        before = supervisor.statistics().pid
        assert before is not None
        assert "glibc.pthread.rseq=0" in tunables_of(before)
        os.kill(before, signal.SIGSEGV)
        await another(supervisor, before)
        assert tunables_of(supervisor.statistics().pid) == ""
        assert "Segmentation fault" in supervisor.statistics().last_exit
        assert await ask(world.port) == "dynamic"


@pytest.mark.skipif(not BY_CPU, reason="this kernel crashes an Envoy that caches by CPU")
@pytest.mark.parametrize("word", ["[critical] Caught Segmentation fault", ""])
@pytest.mark.parametrize("always", [False, True])
async def test_envoy_that_crashes_at_once_is_tried_a_second_time(
    world: World, tmp_path: Path, *, always: bool, word: str
) -> None:
    crashing = tmp_path / "envoy-on-another-kernel"
    crashing.write_text(
        "#!/bin/sh\n"
        f'case "${VARIABLE} {always}$1" in *rseq=0*|*" True-c")\n'
        f'[ -z "{word}" ] || echo "{word}" >&2; kill -SEGV $$;;\n'
        f'esac\nexec {binary()} "$@"\n'
    )
    crashing.chmod(0o755)
    supervisor = world.supervisor(binary=crashing)
    async with xds_for(supervisor, Snapshot()):
        await supervisor.start()
        try:
            if always:
                with pytest.raises(EnvoyDied, match=re.escape(word) or "left no word|SIGSEGV"):
                    await supervisor.wait_ready()
            else:
                await supervisor.wait_ready()
                assert supervisor.statistics().restarts == 1
                assert tunables_of(supervisor.statistics().pid) == ""
        finally:
            await supervisor.stop()
