"""Watches over real connections: served without the application, gone with their client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from moreton.controlplane.api.serving.server import serving
from moreton.controlplane.assembly.looks import application, desk
from moreton.controlplane.assembly.plane import Plane
from moreton.envoy.binary import find_envoy
from moreton.envoy.supervisor import EnvoySupervisor
from moreton.registry import Instance, InstanceId
from unit.controlplane.api.conftest import TOKEN

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 20
CATALOGUE = Instance(InstanceId("a-1"), "catalogue", "10.0.0.7", 8001)
PATH = "/v1/watch?prefix=instances/catalogue"


class Watcher:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.head = ""

    async def until(self, text: bytes) -> str:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return (await self.reader.readuntil(text)).decode()

    async def event(self) -> tuple[str, dict[str, Any]]:
        lines = (await self.until(b"\n\n")).strip().split("\n")
        name, data = lines[-3].partition(": ")[2], lines[-1].partition(": ")[2]
        return name, json.loads(data)

    async def close(self) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


class House:
    def __init__(self, plane: Plane, port: int) -> None:
        self.plane, self.port = plane, port
        self.watchers: list[Watcher] = []

    async def ask(self, path: str, method: str = "GET") -> Watcher:
        watcher = Watcher(*await asyncio.open_connection("127.0.0.1", self.port))
        self.watchers.append(watcher)
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
        watcher.writer.write(head.encode())
        watcher.head = await watcher.until(b"\r\n\r\n")
        return watcher

    def readers(self) -> int:
        found: int = self.plane.notices.statistics().readers
        return found

    async def wait_readers(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.readers() != count:
                await asyncio.sleep(0.001)


@pytest.fixture
async def house(plane: Plane, tmp_path: Path) -> AsyncIterator[House]:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    envoy = EnvoySupervisor(tmp_path / "envoy", binary=find_envoy(None), group="moreton")
    app = application(plane, envoy, TOKEN)
    async with serving(app, bound, desk=desk(plane, TOKEN)):
        house = House(plane, bound.getsockname()[1])
        yield house
        for watcher in house.watchers:
            await watcher.close()
        plane.notices.close()
        plane.events.close()


async def test_watcher_is_told_over_its_connection(house: House) -> None:
    watcher = await house.ask(PATH)
    assert watcher.head.startswith("HTTP/1.1 200 OK\r\n")
    assert "content-type: text/event-stream; charset=utf-8\r\n" in watcher.head
    assert "cache-control: no-store\r\n" in watcher.head
    name, data = await watcher.event()
    assert (name, data["instances"]) == ("listed", [])
    await house.plane.registry.register(CATALOGUE, ttl=timedelta(seconds=60))
    name, data = await watcher.event()
    assert (name, data["instance"]["id"]) == ("registered", "a-1")


async def test_watcher_that_goes_is_forgotten_at_once(house: House) -> None:
    for _ in range(3):
        await (await house.ask(PATH)).event()
    assert house.readers() == 3
    await house.watchers[0].close()
    await house.wait_readers(2)


async def test_slow_watcher_costs_a_bound_and_starts_over(house: House) -> None:
    """Its socket is full, nobody reads: it is told to start over when it does."""
    slow = await house.ask(PATH)
    transport: Any = slow.writer.transport
    transport.pause_reading()
    large = {f"key-{number}": "x" * 500 for number in range(60)}
    notices = house.plane.notices
    (reader,) = notices._readers["catalogue"]
    number = 0
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not reader.is_behind:
            number += 1
            instance = Instance(
                InstanceId("a-1"),
                "catalogue",
                "10.0.0.7",
                8001,
                version=str(number),
                metadata=large,
            )
            await house.plane.registry.register(instance, ttl=timedelta(seconds=60))
            await asyncio.sleep(0)  # a store in memory waits for nothing
    transport.resume_reading()
    seen: list[tuple[str, dict[str, Any]]] = []
    while not (seen and seen[-1][0] == "listed" and len(seen) > 1):
        seen.append(await slow.event())
    (newest,) = seen[-1][1]["instances"]
    assert newest["version"] == str(number)
    assert len(seen) < number, "what it could not take was not kept"
    assert notices.statistics().restarts == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/watch?prefix=instances/Nonsense!", 422),
        ("/v1/watch?prefix=instances/a/b", 422),
        ("/v1/watch?prefix=objects", 422),
        ("/v1/watch?prefix=instances/cart&x=1", 200),
        ("/v1/watch?prefix=instances%2Fcart", 200),
        ("/v1/watch?prefix=instances/", 200),
        ("/v1/watch?prefix=instances", 200),
        ("/v1/watch", 200),
    ],
)
async def test_every_form_of_the_question_is_answered(house: House, path: str, status: int) -> None:
    watcher = await house.ask(path)
    assert watcher.head.startswith(f"HTTP/1.1 {status} ")
    if status == 200 and "prefix" in path:
        assert (await watcher.event())[0] == "listed"


async def test_nobody_but_who_has_the_token_watches(house: House) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(f"GET {PATH} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    watcher = Watcher(reader, writer)
    house.watchers.append(watcher)
    assert (await watcher.until(b"\r\n")).startswith("HTTP/1.1 401")
    assert house.readers() == 0
