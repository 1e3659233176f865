from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from e2e.envoy.world import World, ask, binary, is_running, static, wait_until
from moreton.envoy.admin import EnvoyDoesNotAnswer
from moreton.envoy.last_good import ColdStartFailed, LastGood, NoLastGood, start_last_good

pytestmark = pytest.mark.e2e

_CLIENTS = 8
_PAUSE_SECONDS = 0.01
_DRAIN = timedelta(seconds=1)
_LONG_DRAIN = timedelta(seconds=30)  # of one that has to be there still
_SETTINGS: Any = {"concurrency": 1, "drain_time": _DRAIN}


@dataclass(slots=True)
class Load:
    """Clients that ask in turn, each on a new connection or on one that it keeps."""

    port: int
    said: set[str] = field(default_factory=set)
    requests: int = 0
    failures: list[str] = field(default_factory=list)

    async def client(self, *, keeps: bool) -> None:
        """Ask until cancelled."""
        while True:
            try:
                await self._connection(keeps=keeps)
            except (OSError, EOFError, IndexError) as error:
                self.failures.append(repr(error))

    async def _connection(self, *, keeps: bool) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with contextlib.closing(writer):
            while True:
                writer.write(b"GET /who HTTP/1.1\r\nhost: a\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.said.add((await reader.readexactly(length)).decode())
                self.requests += 1
                await asyncio.sleep(_PAUSE_SECONDS)
                if not keeps or b"connection: close" in head.lower():
                    return


@contextlib.asynccontextmanager
async def load_on(port: int) -> AsyncIterator[Load]:
    """A light load for as long as the block lasts."""
    load = Load(port)
    clients = [asyncio.create_task(load.client(keeps=n % 2 == 0)) for n in range(_CLIENTS)]
    try:
        yield load
    finally:
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


async def test_cold_envoy_serves_the_last_good_configuration_without_control_plane(
    world: World,
) -> None:
    LastGood(world.folder / "last-good").save(static(world.port, world.backend.port))
    pid = await start_last_good(world.folder, binary=binary(), **_SETTINGS)
    assert await ask(world.port) == "last good"
    assert await ask(world.port, "/") == "done"
    # Started again while it runs, nothing happens.
    assert await start_last_good(world.folder, binary=binary(), **_SETTINGS) == pid


async def test_control_plane_takes_over_from_a_cold_envoy_without_a_failed_request(
    world: World,
) -> None:
    LastGood(world.folder / "last-good").save(static(world.port, world.backend.port))
    cold = await start_last_good(world.folder, binary=binary(), **_SETTINGS)
    async with load_on(world.port) as load:

        async def has_load() -> bool:
            return load.requests > 100

        await wait_until(has_load, "the load runs")
        assert load.said == {"last good"}
        async with world.control_plane(drain_time=_DRAIN) as supervisor:
            found = supervisor.statistics()
            assert not found.adopted
            assert found.pid != cold

            async def is_over() -> bool:
                return not is_running(cold) and supervisor.statistics().retiring == 0

            await wait_until(is_over, "the cold one has ended")
            after = load.requests

            async def goes_on() -> bool:
                return load.requests > after + 100

            await wait_until(goes_on, "the load goes on")
            assert load.said == {"last good", "dynamic"}
            assert load.failures == []
            assert list(world.folder.glob("old-*")) == []


async def test_slow_request_survives_the_take_over(world: World) -> None:
    LastGood(world.folder / "last-good").save(static(world.port, world.backend.port))
    cold = await start_last_good(world.folder, binary=binary(), **_SETTINGS)
    asked = asyncio.create_task(ask(world.port, "/slow"))
    await world.backend.slow.wait()
    async with world.control_plane(drain_time=_LONG_DRAIN) as supervisor:
        await _says(world, "dynamic")
        assert is_running(cold)
        assert supervisor.statistics().retiring == 1
        world.backend.finish.set()
        assert await asked == "done"


async def test_other_settings_replace_the_envoy_without_a_failed_request(world: World) -> None:
    first = world.spawn()
    before = (await asyncio.to_thread(first.ready))["pid"]
    first.say("detach")
    async with (
        load_on(world.port) as load,
        world.control_plane(concurrency=2, drain_time=_DRAIN, says="two workers") as supervisor,
    ):
        assert supervisor.statistics().pid != before

        async def is_over() -> bool:
            return not is_running(before) and "two workers" in load.said

        await wait_until(is_over, "the one with other settings has ended")
        assert load.failures == []


async def test_take_over_that_was_interrupted_is_finished_by_the_next_control_plane(
    world: World,
) -> None:
    LastGood(world.folder / "last-good").save(static(world.port, world.backend.port))
    cold = await start_last_good(world.folder, binary=binary(), **_SETTINGS)
    interrupted = world.supervisor(drain_time=_DRAIN)
    await interrupted.start()  # without an xDS server: its Envoy waits
    waiting = interrupted.statistics().pid

    async def answers() -> bool:
        with contextlib.suppress(EnvoyDoesNotAnswer):
            return bool((await interrupted.admin.server_info())["state"] != "LIVE")
        return False

    async with load_on(world.port) as load:
        await wait_until(answers, "the successor waits for its configuration")
        await interrupted.detach()
        assert await ask(world.port) == "last good"
        async with world.control_plane(drain_time=_DRAIN) as supervisor:
            found = supervisor.statistics()
            assert found.adopted
            assert found.pid == waiting
            await _says(world, "dynamic")

            async def is_over() -> bool:
                return not is_running(cold)

            await wait_until(is_over, "the cold one has ended")
            assert load.failures == []


async def test_damaged_generation_is_passed_over_for_a_cold_start(world: World) -> None:
    saved = LastGood(world.folder / "last-good")
    saved.save(static(world.port, world.backend.port, says="older"))
    saved.save(static(world.port, world.backend.port, says="newer")).path.write_bytes(b"{")
    await start_last_good(world.folder, binary=binary(), **_SETTINGS)
    assert await ask(world.port) == "older"


async def test_cold_start_without_a_saved_configuration_says_so(world: World) -> None:
    with pytest.raises(NoLastGood, match="none was saved yet"):
        await start_last_good(world.folder, binary=binary(), **_SETTINGS)


async def test_cold_start_that_envoy_refuses_gives_its_reason(world: World) -> None:
    LastGood(world.folder / "last-good").save(b'{"static_resources": {"clusters": [{}]}}')
    began = time.monotonic()
    with pytest.raises(
        ColdStartFailed, match=r"does not serve .*last-good.*ValidationError.Name: value length"
    ):
        await start_last_good(world.folder, binary=binary(), **_SETTINGS)
    assert time.monotonic() - began < 10
    assert not list(Path(world.folder).glob("old-*"))


async def _says(world: World, wanted: str) -> None:
    """Both take connections for some milliseconds after the successor is ready."""

    async def does() -> bool:
        return await ask(world.port) == wanted

    await wait_until(does, f"{wanted} is said")
