"""TCP between members: a line of JSON for each frame, and nothing waited for.

A frame that cannot be sent is lost: the member sends it again or goes around its target.
Nothing here is encrypted or proves who speaks: keep it on loopback or a network of your own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

from moreton.election.ring.core.frames import Frame
from moreton.election.ring.core.ring import Uid
from moreton.election.ring.wire import LINE_BYTES_MAX, decode, encode

QUEUE_FRAMES_MAX = 512
_CONNECT_SECONDS = 1.0
_SEND_SECONDS = 2.0


class Address(NamedTuple):
    """Where a member listens."""

    host: str
    port: int


class Links:
    """One server, and one connection to each member that something was sent to."""

    def __init__(self, name: str, uid: Uid, arrived: Callable[[Uid, Frame], None]) -> None:
        self._name = name
        self._uid = uid
        self._arrived = arrived
        self._server: asyncio.Server | None = None
        self._addresses: dict[Uid, Address] = {}
        self._queues: dict[Uid, asyncio.Queue[bytes]] = {}
        self._senders: list[asyncio.Task[None]] = []
        self._readers: set[asyncio.StreamWriter] = set()
        self.sent = self.dropped = self.malformed = 0

    async def listen(self, address: Address) -> Address:
        """Accept frames at *address*; where that is, when its port is 0."""
        self._server = await asyncio.start_server(
            self._read, address.host, address.port, limit=LINE_BYTES_MAX
        )
        host, port = self._server.sockets[0].getsockname()[:2]
        return Address(host, port)

    def know(self, addresses: Mapping[Uid, Address]) -> None:
        """Where the members are, from now on."""
        self._addresses |= addresses

    def send_nowait(self, target: Uid, frame: Frame) -> None:
        """Send *frame* when its turn comes; dropped when too many wait."""
        if target not in self._addresses:
            self.dropped += 1
            return
        queue = self._queues.get(target)
        if queue is None:
            queue = self._queues[target] = asyncio.Queue(QUEUE_FRAMES_MAX)
            self._senders.append(asyncio.create_task(self._send_all(target, queue)))
        try:
            queue.put_nowait(encode(self._name, self._uid, frame))
        except asyncio.QueueFull:
            self.dropped += 1

    async def close(self) -> None:
        """Stop listening and sending."""
        for sender in self._senders:
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)
        if self._server is not None:
            self._server.close()
        for writer in list(self._readers):
            writer.close()
        if self._server is not None:
            await self._server.wait_closed()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._readers.add(writer)
        try:
            while line := await reader.readline():
                found = decode(line, self._name)
                if found is None:
                    self.malformed += 1
                else:
                    self._arrived(*found)
        except (OSError, ValueError):  # the peer died, or its line is too long
            self.malformed += 1
        finally:
            self._readers.discard(writer)
            writer.close()

    async def _send_all(self, target: Uid, queue: asyncio.Queue[bytes]) -> None:
        writer: asyncio.StreamWriter | None = None
        try:
            while True:
                line = await queue.get()
                try:
                    if writer is None or writer.is_closing():
                        writer = await self._connect(target)
                    writer.write(line)
                    async with asyncio.timeout(_SEND_SECONDS):
                        await writer.drain()
                    self.sent += 1
                except (OSError, TimeoutError):
                    self.dropped += 1
                    if writer is not None:
                        writer.close()
                    writer = None
        finally:
            if writer is not None:
                writer.close()

    async def _connect(self, target: Uid) -> asyncio.StreamWriter:
        address = self._addresses[target]
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(address.host, address.port)
        # Nobody answers on this connection: the end of it is the only thing to be read.
        watcher = asyncio.create_task(_close_at_end(reader, writer))
        self._senders = [task for task in self._senders if not task.done()]
        self._senders.append(watcher)
        return writer


async def _close_at_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(LINE_BYTES_MAX):
            pass
    writer.close()
