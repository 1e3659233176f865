"""Weights on their way to the proxies while the disk still takes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moreton.controlplane.assembly.plane import Plane, put_together
from moreton.controlplane.settings import load_settings
from moreton.envoy.core.resources import ResourceKey, TypeUrl
from moreton.envoy.xds import XdsServer
from moreton.kernel.time import SystemClock
from moreton.store.core.state import State
from moreton.store.errors import StoreFailing
from moreton.store.host import LocalStore
from support.slow_journal import SlowJournal

CONFIGURATION = """
version: 1
gateways: {public: {listeners: [{address: 127.0.0.1:8080}]}}
services: {a: {addresses: [127.0.0.1:8000]}, b: {addresses: [127.0.0.1:8001]}}
routes: {everything: {path: /*, to: {a: 1, b: 0}}}
"""
SECONDS = 30.0


async def no_preflight(_: object) -> str:
    return ""


@pytest.fixture
def disk() -> SlowJournal:
    return SlowJournal()


@pytest.fixture
async def plane(tmp_path: Path, disk: SlowJournal) -> AsyncIterator[Plane]:
    path = tmp_path / "moreton.yaml"
    path.write_text(CONFIGURATION)
    settings = load_settings(path)
    store = LocalStore(State(), disk, clock=SystemClock())
    plane = put_together(settings, store, XdsServer(), preflight=no_preflight)
    await plane.discovery.load()
    await plane.follower.load()
    plane.apply(settings)
    async with plane.publisher.running(), plane.follower.running():
        await plane.publisher.wait_published()
        yield plane
    await store.close()


def published(plane: Plane) -> str:
    key = ResourceKey(TypeUrl.RUNTIME, "weights")
    return plane.publisher.compiled.snapshot.resources[key].version


async def moving(plane: Plane, disk: SlowJournal, weights: dict[str, int]) -> asyncio.Task[None]:
    """The call that moves, once its change is with the disk and published."""
    before, waiting = published(plane), len(disk.submitted)
    task = asyncio.create_task(plane.control.put_weights("everything", weights))
    async with asyncio.timeout(SECONDS):
        while len(disk.submitted) == waiting or published(plane) == before:
            await asyncio.sleep(0)
    return task


async def test_weights_are_published_before_the_disk_has_them_and_acknowledged_after(
    plane: Plane, disk: SlowJournal
) -> None:
    task = await moving(plane, disk, {"a": 0, "b": 1})
    assert not task.done()
    moved = published(plane)
    disk.committed(1)
    await task
    assert plane.desired.weights_set("everything") == {"a": 0, "b": 1}
    await plane.publisher.wait_published()
    assert published(plane) == moved


async def test_weights_that_the_disk_refuses_are_taken_back(
    plane: Plane, disk: SlowJournal
) -> None:
    start = published(plane)
    task = await moving(plane, disk, {"a": 0, "b": 1})
    disk.failed(StoreFailing(path=Path("store.sqlite"), reason="the disk is full"))
    with pytest.raises(Exception, match="the disk is full"):
        await task
    assert plane.desired.weights_set("everything") is None
    await plane.publisher.wait_published()
    assert published(plane) == start


async def test_weights_of_before_are_those_that_are_gone_back_to(
    plane: Plane, disk: SlowJournal
) -> None:
    task = await moving(plane, disk, {"a": 1, "b": 9})
    disk.committed(1)
    await task
    task = await moving(plane, disk, {"a": 0, "b": 1})
    disk.failed(StoreFailing(path=Path("store.sqlite"), reason="the disk is full"))
    with pytest.raises(Exception, match="the disk is full"):
        await task
    assert plane.desired.weights_set("everything") == {"a": 1, "b": 9}


async def test_second_move_waits_for_the_first_and_counts_in_the_end(
    plane: Plane, disk: SlowJournal
) -> None:
    first = await moving(plane, disk, {"a": 0, "b": 1})
    second = asyncio.create_task(plane.control.put_weights("everything", {"a": 5, "b": 5}))
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(disk.submitted) == 1
    disk.committed(1)
    await first
    async with asyncio.timeout(SECONDS):
        while len(disk.submitted) == 1:
            await asyncio.sleep(0)
    disk.committed(1)
    await second
    assert plane.desired.weights_set("everything") == {"a": 5, "b": 5}
