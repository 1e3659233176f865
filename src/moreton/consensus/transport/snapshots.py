"""Snapshots: each on a connection of its own, in chunks, so that heartbeats never wait for one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from struct import Struct

from moreton.consensus.core.messages import InstallSnapshot, Message, NodeId
from moreton.consensus.transport.connection import Closed, Connection, OnItem
from moreton.consensus.transport.core.encoding import (
    MESSAGE_KINDS,
    decode_message,
    encode_message,
)
from moreton.consensus.transport.core.framing import item
from moreton.consensus.transport.errors import BadFrame, PeerUnreachable, TooLargeToSend
from moreton.consensus.transport.settings import TransportSettings

_SIZE, _CHUNK, _TAKEN = 96, 97, 98
_COUNT = Struct("<Q")

Dial = Callable[[OnItem], Awaitable[Connection]]


async def send_snapshot(
    message: InstallSnapshot, data: bytes, dial: Dial, *, settings: TransportSettings
) -> None:
    """Send *message* with *data*, and return when its target has taken it.

    Raises a `ConsensusError` if it does not. Beside *data* it holds a few chunks at a time.
    """
    target = message.target
    if len(data) > settings.snapshot_bytes_max:
        raise TooLargeToSend(
            target=target, what="a snapshot", size=len(data), limit=settings.snapshot_bytes_max
        )
    taken = asyncio.Event()

    def on_item(kind: int, _body: bytes, _start: int, _end: int) -> None:
        if kind != _TAKEN:
            raise BadFrame(f"an answer of kind {kind} to a snapshot")
        taken.set()

    connection = await dial(on_item)
    stall_seconds = settings.stall_timeout.total_seconds()
    try:
        connection.post(item(_SIZE, _COUNT.pack(len(data))))
        connection.post(encode_message(message))
        for start in range(0, len(data), settings.chunk_bytes):
            connection.post(item(_CHUNK, data[start : start + settings.chunk_bytes]))
            async with asyncio.timeout(stall_seconds):
                await connection.drain()
        async with asyncio.timeout(stall_seconds):
            await _first(taken.wait(), connection)
    except (Closed, TimeoutError) as error:
        reason = str(error) or f"the snapshot did not move for {stall_seconds:g} s"
        raise PeerUnreachable(target=target, address="", reason=reason) from error
    finally:
        connection.close()


async def _first(taken: Awaitable[object], connection: Connection) -> None:
    """Return when *taken* is; raises `Closed` if the connection ends before."""
    waits = [asyncio.ensure_future(taken), asyncio.ensure_future(connection.wait_closed())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if not waits[0].done():
            raise Closed(connection.reason)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


class Receipt:
    """One snapshot on its way in, from *source* to *target*."""

    def __init__(
        self,
        source: NodeId,
        target: NodeId,
        connection: Connection,
        arrived: Callable[[Message, bytes], None],
        *,
        settings: TransportSettings,
    ) -> None:
        self._source = source
        self._target = target
        self._connection = connection
        self._arrived = arrived
        self._settings = settings
        self._message: InstallSnapshot | None = None
        self._size = -1
        self._chunks: list[bytes] = []
        self._got = 0
        self._whole: asyncio.Task[None] | None = None

    def receive(self, kind: int, body: bytes, start: int, end: int) -> None:
        """The size, the message, then chunks until the size is reached."""
        if kind == _SIZE and self._size < 0 and end - start == _COUNT.size:
            (self._size,) = _COUNT.unpack_from(body, start)
            if self._size > self._settings.snapshot_bytes_max:
                limit = self._settings.snapshot_bytes_max
                raise BadFrame(f"a snapshot of {self._size} bytes, where {limit} are the most")
        elif kind in MESSAGE_KINDS and self._size >= 0 and self._message is None:
            message = decode_message(
                kind, body, start, end, source=self._source, target=self._target
            )
            if not isinstance(message, InstallSnapshot):
                raise BadFrame("a snapshot's connection carries another message")
            self._message = message
        elif kind == _CHUNK and self._message is not None and start < end:
            self._chunks.append(body[start:end])
            self._got += end - start
        else:
            raise BadFrame(f"kind {kind} is out of turn in a snapshot")
        if self._got > self._size >= 0:
            raise BadFrame(f"a snapshot of more than the {self._size} bytes it has")
        if self._message is not None and self._got == self._size and self._whole is None:
            self._whole = asyncio.create_task(self._hand_over(self._message))

    def close(self) -> None:
        """Let go of what has arrived."""
        self._chunks.clear()
        if self._whole is not None:
            self._whole.cancel()

    async def _hand_over(self, message: InstallSnapshot) -> None:
        chunks, self._chunks = self._chunks, []
        # Joining gigabytes takes a second, in which heartbeats must go on.
        data = await asyncio.to_thread(b"".join, chunks)
        chunks.clear()
        self._arrived(message, data)
        self._connection.post(item(_TAKEN))
