"""A small backend: `python -m bench.app LABEL PORT [ADDRESSES]`.

Listens on 127.0.0.1, 127.0.0.2 and so on, one address unless told otherwise. Answers every GET
with its label in `x-served-by`; a path with `/stream` gets a chunk every 200 ms without end; a
WebSocket handshake on any path gets an echo server.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import signal
import sys

import uvloop

_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_TICK_SECONDS = 0.2


class _Connection(asyncio.Protocol):
    def __init__(self, label: str) -> None:
        body = label.encode()
        self._label = body
        self._answer = b"HTTP/1.1 200 OK\r\nx-served-by: %b\r\ncontent-length: %d\r\n\r\n%b" % (
            body,
            len(body),
            body,
        )
        self._buffer = b""
        self._frames = False
        self._tick: asyncio.TimerHandle | None = None
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's has its own class

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._tick is not None:
            self._tick.cancel()

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._buffer += data
        if self._frames:
            self._echo()
            return
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            lower = head.lower()
            if b"\r\nupgrade: websocket" in lower:
                self._upgrade(head)
                return
            if b"/stream" in head.split(b"\r\n", 1)[0]:
                self._stream()
                return
            self._transport.write(self._answer)

    def _upgrade(self, head: bytes) -> None:
        assert self._transport is not None
        lines = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
        }
        accept = base64.b64encode(
            hashlib.sha1(lines[b"sec-websocket-key"] + _WEBSOCKET_GUID).digest()  # noqa: S324
        )
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
            b"sec-websocket-accept: " + accept + b"\r\n\r\n"
        )
        self._frames = True

    def _echo(self) -> None:
        """Echo short masked text frames, which is all the benchmark sends."""
        assert self._transport is not None
        while len(self._buffer) >= 6:
            length = self._buffer[1] & 0x7F
            if len(self._buffer) < 6 + length:
                return
            mask = self._buffer[2:6]
            data = bytes(b ^ mask[i % 4] for i, b in enumerate(self._buffer[6 : 6 + length]))
            opcode = self._buffer[0]
            self._buffer = self._buffer[6 + length :]
            self._transport.write(bytes([opcode, length]) + data)

    def _stream(self) -> None:
        assert self._transport is not None
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nx-served-by: %b\r\ntransfer-encoding: chunked\r\n\r\n"
            % self._label
        )
        self._next_chunk()

    def _next_chunk(self) -> None:
        assert self._transport is not None
        self._transport.write(b"5\r\ntick\n\r\n")
        self._tick = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._next_chunk)


async def serve(label: str, port: int, addresses: int) -> None:
    """Serve until SIGTERM."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    hosts = [f"127.0.0.{number + 1}" for number in range(addresses)]
    server = await loop.create_server(lambda: _Connection(label), hosts, port)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2]), int((sys.argv[3:] or ["1"])[0])))
