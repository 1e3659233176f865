"""Kept connections of HTTP/1.1, as cheap for the machine that measures as Python allows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import cast

_CONNECTIONS_AT_ONCE = 64
_ANSWER_SECONDS_MAX = 60.0
_SMALL_BYTES = 4096


class Connection(asyncio.Protocol):
    """One request under way at most; what came for it is `status` and `body`."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._data = b""
        self._parts: list[bytes] = []  # of a body that is not whole yet
        self._missing = 0
        self._told: Callable[[Connection], None] | None = None
        self.sent = 0.0
        self.took = 0.0
        self.status = 0
        self.body = b""
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Those of uvloop are not of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.is_open = False
        self._tell(0)

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._more(data)
            return
        self._data = self._data + data if self._data else data
        if len(self._data) > _SMALL_BYTES and self._begin(self._data):
            self._data = b""
            return
        found = answer(self._data)
        if found is not None:
            self._data = b""
            status, self.body = found
            self._tell(status)

    def _begin(self, data: bytes) -> bool:
        """Whether *data* begins an answer of a known length, whose parts are joined once."""
        head, end, body = data.partition(b"\r\n\r\n")
        at = head.find(b"content-length: ")
        if not end or at < 0:
            return False
        self._missing = int(head[at + 16 :].split(b"\r\n", 1)[0])
        self.status = int(head[9:12])
        self._more(body)
        return True

    def _more(self, data: bytes) -> None:
        self._parts.append(data)
        self._missing -= len(data)
        if not self._missing:
            self.body = b"".join(self._parts)
            self._parts.clear()
            self._tell(self.status)

    @property
    def is_busy(self) -> bool:
        """Whether an answer is still to come."""
        return self._told is not None

    def send(self, request: bytes, told: Callable[[Connection], None]) -> None:
        """Send *request*; *told* is called with this when the answer is there, or never will be."""
        assert self._transport is not None
        self._told = told
        self.sent = time.perf_counter()
        self._transport.write(request)

    async def ask(self, request: bytes) -> bytes:
        """The body of the answer; anything but 2xx is an error."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def told(_: Connection) -> None:
            if not done.done():
                done.set_result(None)

        self.send(request, told)
        async with asyncio.timeout(_ANSWER_SECONDS_MAX):
            await done
        if self.status // 100 != 2:
            raise RuntimeError(f"{request[:80]!r} was answered {self.status}: {self.body[:500]!r}")
        return self.body

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _tell(self, status: int) -> None:
        self.took = time.perf_counter() - self.sent
        self.status = status
        told, self._told = self._told, None
        if told is not None:
            told(self)


def answer(data: bytes) -> tuple[int, bytes] | None:
    """Status and body, once *data* is a whole response."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head, body = data[:end].lower(), data[end + 4 :]
    status = int(head[9:12])
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        size = int(head[at + 17 :].split(b"\r\n", 1)[0])
        return (status, body) if len(body) >= size else None
    if b"\r\ntransfer-encoding: chunked" in head:
        return (status, unchunked(body)) if body.endswith(b"0\r\n\r\n") else None
    return (status, b"")


def unchunked(body: bytes) -> bytes:
    """What lies between the sizes of chunks."""
    out = []
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size or b"0", 16)
        out.append(body[:length])
        body = body[length + 2 :]
    return b"".join(out)


async def connections(port: int, count: int) -> list[Connection]:
    """*count* of them to *port* of loopback."""
    loop = asyncio.get_running_loop()
    gate = asyncio.Semaphore(_CONNECTIONS_AT_ONCE)

    async def one() -> Connection:
        async with gate:
            return (await loop.create_connection(Connection, "127.0.0.1", port))[1]

    return list(await asyncio.gather(*(one() for _ in range(count))))


async def ask_each(
    made: Sequence[Connection], requests: Callable[[int], Sequence[bytes]]
) -> list[bytes]:
    """Ask, over connection *n*, `requests(n)` one after the other; the last body of each."""
    gate = asyncio.Semaphore(_CONNECTIONS_AT_ONCE)

    async def one(number: int, connection: Connection) -> bytes:
        async with gate:
            found = b""
            for request in requests(number):
                found = await connection.ask(request)
            return found

    return list(await asyncio.gather(*(one(n, each) for n, each in enumerate(made))))
