"""Connections that stay: one WebSocket that is pinged, one response that streams."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Self

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

_PING_SECONDS = 0.2
_SILENCE_SECONDS_MAX = 5.0


@dataclass(slots=True)
class Held:
    """What the held connections saw; *broken* says how the first of them ended, or nothing."""

    messages: int = 0
    chunks: int = 0
    broken: str = ""


class LongLived:
    """A WebSocket and a streaming response through one gateway route, held until the end."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._path = path
        self._tasks: list[asyncio.Task[None]] = []
        self.held = Held()

    async def __aenter__(self) -> Self:
        for work in (self._websocket, self._stream):
            self._tasks.append(asyncio.create_task(self._guard(work.__name__, work())))
        held = self.held
        while not (held.broken or (held.messages and held.chunks)):
            await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _guard(self, name: str, work: object) -> None:
        try:
            await work  # type: ignore[misc]
        except (OSError, WebSocketException, EOFError, TimeoutError) as error:
            self.held.broken = self.held.broken or f"{name.strip('_')}: {error!r}"

    async def _websocket(self) -> None:
        async with connect(f"ws://127.0.0.1:{self._port}{self._path}/ws", proxy=None) as socket:
            while True:
                await socket.send("ping")
                async with asyncio.timeout(_SILENCE_SECONDS_MAX):
                    await socket.recv()
                self.held.messages += 1
                await asyncio.sleep(_PING_SECONDS)

    async def _stream(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(f"GET {self._path}/stream HTTP/1.1\r\nhost: bench\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head:
            raise EOFError(f"answered {head[:60]!r}")
        while True:
            async with asyncio.timeout(_SILENCE_SECONDS_MAX):
                await reader.readuntil(b"tick\n")
            self.held.chunks += 1
