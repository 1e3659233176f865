from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from moreton.controlplane.api import notices as module
from moreton.controlplane.api.notices import NOTICES_BEHIND_MAX, Notices
from moreton.controlplane.assembly.plane import Plane
from moreton.registry import Instance, InstanceId, InstancesListed

TTL = timedelta(seconds=60)
CATALOGUE = Instance(InstanceId("a-1"), "catalogue", "10.0.0.7", 8001)
CART = Instance(InstanceId("b-1"), "cart", "10.0.0.8", 8001)
PATIENCE_SECONDS = 20


class Reading:
    """A watcher, and what it was told so far."""

    def __init__(self, notices: Notices, service: str | None = None) -> None:
        self._stream: AsyncGenerator[bytes, None] = notices.stream(service)
        self._text = ""
        self.wakes = 0

    async def next(self) -> tuple[str, int, dict[str, Any]]:
        """Name, id and data of the next event."""
        while "\n\n" not in self._text:
            async with asyncio.timeout(PATIENCE_SECONDS):
                self._text += (await anext(self._stream)).decode()
            self.wakes += 1
        event, _, self._text = self._text.partition("\n\n")
        name, number, data = (line.partition(": ")[2] for line in event.split("\n"))
        return name, int(number), json.loads(data)

    async def close(self) -> None:
        await self._stream.aclose()


@pytest.fixture
async def told(plane: Plane) -> AsyncIterator[list[int]]:
    """The revisions that were told to the notices."""
    revisions: list[int] = []
    tell = plane.notices.tell

    def also(change: Any) -> None:
        tell(change)
        revisions.append(change.revision)

    plane.notices.tell = also  # type: ignore[method-assign]
    yield revisions
    plane.notices.close()


async def register(plane: Plane, told: list[int], instance: Instance) -> int:
    """Its revision, once everybody was told."""
    held = await plane.registry.register(instance, ttl=TTL)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while held.revision not in told:
            await asyncio.sleep(0)
    return held.revision


async def test_reader_is_told_all_there_is_and_then_each_change(
    plane: Plane, told: list[int]
) -> None:
    first = await register(plane, told, CATALOGUE)
    reading = Reading(plane.notices, "catalogue")
    name, number, data = await reading.next()
    assert (name, number) == ("listed", first)
    assert [each["id"] for each in data["instances"]] == ["a-1"]
    await register(plane, told, replace(CATALOGUE, weight=7))
    await register(plane, told, replace(CATALOGUE, id=InstanceId("a-2"), port=8002))
    await plane.registry.deregister("catalogue", "a-2")
    name, number, data = await reading.next()
    assert (name, data["instance"]["weight"], data["revision"]) == ("updated", 7, number)
    name, number, data = await reading.next()
    assert (name, data["instance"]["port"]) == ("registered", 8002)
    name, number, data = await reading.next()
    assert (name, data["service"], data["id"]) == ("removed", "catalogue", "a-2")
    await reading.close()


async def test_reader_is_never_woken_for_another_service(plane: Plane, told: list[int]) -> None:
    cart, catalogue = (
        Reading(plane.notices, "cart"),
        Reading(plane.notices, "catalogue"),
    )
    everything = Reading(plane.notices)
    for reading in (cart, catalogue, everything):
        await reading.next()
    quiet = asyncio.ensure_future(cart.next())
    await asyncio.sleep(0)
    for number in range(20):
        await register(plane, told, replace(CATALOGUE, weight=number + 2))
        await catalogue.next()
        await everything.next()
    assert not quiet.done()
    assert plane.notices.statistics().notices == 40, "two of three watch that service"
    await register(plane, told, CART)
    assert (await quiet)[0] == "registered"
    assert cart.wakes == 2
    for reading in (cart, catalogue, everything):
        await reading.close()


@pytest.mark.slow
async def test_slow_reader_holds_little_and_is_told_to_start_over(
    plane: Plane, told: list[int]
) -> None:
    slow, quick = (
        Reading(plane.notices, "catalogue"),
        Reading(plane.notices, "catalogue"),
    )
    await slow.next()
    await quick.next()
    for number in range(NOTICES_BEHIND_MAX + 50):
        last = await register(plane, told, replace(CATALOGUE, weight=number + 2))
        assert (await quick.next())[1] == last
    (reader,) = {each for each in plane.notices._readers["catalogue"] if each.is_behind}
    assert not reader._waiting, "what it missed is not kept"
    name, number, data = await slow.next()
    assert (name, number) == ("listed", last)
    assert data["instances"][0]["weight"] == NOTICES_BEHIND_MAX + 51
    assert plane.notices.statistics().restarts == 1
    newer = await register(plane, told, CATALOGUE)
    assert (await slow.next())[:2] == ("updated", newer)
    await slow.close()
    await quick.close()


async def test_reader_starts_over_after_a_gap(plane: Plane, told: list[int]) -> None:
    reading = Reading(plane.notices, "catalogue")
    await reading.next()
    first = await register(plane, told, CATALOGUE)
    assert (await reading.next())[0] == "registered"
    plane.notices.tell(InstancesListed(first, ()))
    assert (await reading.next())[:2] == ("listed", first)
    await reading.close()


async def test_what_happened_meanwhile_arrives_at_once(plane: Plane, told: list[int]) -> None:
    reading = Reading(plane.notices, "catalogue")
    await reading.next()
    for number in range(10):
        await register(plane, told, replace(CATALOGUE, weight=number + 2))
    found = [(await reading.next())[1] for _ in range(10)]
    assert found == sorted(found)
    assert reading.wakes == 2
    await reading.close()


async def test_quiet_stream_says_that_it_is_still_there_and_loses_nothing(
    plane: Plane, told: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.001)
    stream = plane.notices.stream()
    await anext(stream)
    assert await anext(stream) == b": still here\n\n"
    await register(plane, told, CATALOGUE)
    texts = [await anext(stream) for _ in range(2)]
    assert any(text.startswith(b"event: registered") for text in texts)
    await stream.aclose()


async def test_streams_end_with_the_server_and_when_nobody_reads(plane: Plane) -> None:
    until: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    streams = [plane.notices.stream(), plane.notices.stream(until=until)]
    for stream in streams:
        await anext(stream)
    waiting = [asyncio.ensure_future(anext(stream, None)) for stream in streams]
    await asyncio.sleep(0)
    until.set_result(None)
    assert await waiting[1] is None
    assert not waiting[0].done()
    plane.notices.close()
    assert await waiting[0] is None


async def test_readers_that_come_at_once_are_told_the_same_words(
    plane: Plane, told: list[int]
) -> None:
    await register(plane, told, CATALOGUE)
    texts = [await anext(plane.notices.stream("catalogue")) for _ in range(3)]
    assert texts[0] == texts[1] == texts[2]
    await register(plane, told, replace(CATALOGUE, weight=9))
    newer = await anext(plane.notices.stream("catalogue"))
    assert b'"weight": 9' in newer
    everything = await anext(plane.notices.stream())
    assert json.loads(everything.partition(b"data: ")[2])["instances"][0]["weight"] == 9


async def test_nobody_is_kept_who_has_gone(plane: Plane) -> None:
    reading = Reading(plane.notices, "catalogue")
    await reading.next()
    assert plane.notices.statistics().readers == 1
    await reading.close()
    assert plane.notices.statistics().readers == 0
    assert plane.notices._readers == {}


async def test_quiet_stream_ends_when_this_node_is_cut_off(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.001)
    troubles: list[str] = []
    stream = plane.notices.stream("catalogue", cut_off=lambda: bool(troubles))
    assert (await anext(stream)).startswith(b"event: listed")
    troubles.append("away")
    assert [each async for each in stream] == []
    assert [each async for each in plane.notices.stream(cut_off=lambda: True)] == []
