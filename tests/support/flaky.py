"""A real HTTP/1.1 server that fails as it is told, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from support.waits import join_all

LINGER_NONE = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Answer:
    """A whole answer; with *cut*, half of its body and then a reset; with *stall*, then nothing."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b"well"
    cut: bool = False
    stall: bool = False


RESET = "reset"  # after the request was read
HANG = "hang"  # no answer
Step = Answer | str


@dataclass
class Seen:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class FlakyServer:
    """Follows *plan*, then answers 200."""

    plan: deque[Step] = field(default_factory=deque)
    seen: list[Seen] = field(default_factory=list)
    port: int = 0

    def will(self, *steps: Step) -> None:
        """What the next requests get."""
        self.plan.extend(steps)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,))
        self._thread.start()
        assert ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        join_all([self._thread])
        self._loop.close()

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(ready))

    async def _serve(self, ready: threading.Event) -> None:
        self._talking: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stop.wait()
        # Connections that are being accepted just now come to `_accept` and end there: a server
        # that is closed cannot take them, and would leave them open.
        while accepting := asyncio.all_tasks() - {asyncio.current_task()} - self._talking:
            await asyncio.wait(accepting)
        server.close()
        for task in self._talking:
            task.cancel()
        await asyncio.gather(*self._talking, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talking.add(task)
        try:
            while not self._stop.is_set() and await self._exchange(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._talking.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *rest = head.strip().split("\r\n")
        method, path, _ = line.split(" ", 2)
        pairs = (one.split(":", 1) for one in rest)
        headers = {name.lower(): value.strip() for name, value in pairs}
        body = await _body(reader, headers)
        self.seen.append(Seen(method, path, headers, body))
        step = self.plan.popleft() if self.plan else Answer()
        if step == HANG:
            await self._stop.wait()
            return False
        if not isinstance(step, Answer):
            _reset(writer)
            return False
        writer.write(_head(step))
        half = step.body[: len(step.body) // 2]
        writer.write(half if step.cut or step.stall else step.body)
        await writer.drain()
        if step.stall:
            await self._stop.wait()
        if step.cut:
            _reset(writer)
        return not step.cut


def _head(answer: Answer) -> bytes:
    fields: Iterable[tuple[str, str]] = (
        *answer.headers,
        ("content-length", str(len(answer.body))),
    )
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"HTTP/1.1 {answer.status} Said\r\n{lines}\r\n".encode("latin-1")


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") == "chunked":
        found = b""
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            found += await reader.readexactly(size)
            await reader.readuntil(b"\r\n")
        await reader.readuntil(b"\r\n")
        return found
    return await reader.readexactly(int(headers.get("content-length", "0")))


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
    writer.transport.abort()
