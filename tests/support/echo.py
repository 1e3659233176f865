"""An HTTP/1.1 server in a thread that answers with what it was asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

_SECONDS_MAX = 10


@dataclass
class Echo:
    """Where it listens, and what it was asked so far: method, target, headers by lower name."""

    port: int
    asked: list[dict[str, Any]] = field(default_factory=list)


@contextlib.contextmanager
def echo_server(name: str = "echo") -> Iterator[Echo]:
    """Serve until left. `x-answer: <status>` asks for a status, `x-break: 1` for a reset."""
    started = threading.Event()
    echo = Echo(0)
    stop: list[Callable[[], object]] = []

    async def serve() -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            broken_off = contextlib.suppress(ConnectionError, asyncio.IncompleteReadError)
            with contextlib.closing(writer), broken_off:
                while await _answer(name, echo, reader, writer):
                    pass

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        echo.port = server.sockets[0].getsockname()[1]
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(stopped.set))
        started.set()
        await stopped.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name=name)
    thread.start()
    assert started.wait(_SECONDS_MAX)
    try:
        yield echo
    finally:
        stop[0]()
        thread.join(_SECONDS_MAX)


async def _answer(
    name: str, echo: Echo, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ", 2)
    headers: dict[str, str] = {}
    for line in head[1:]:
        key, _, value = line.partition(": ")
        if key:
            headers[key.lower()] = ", ".join(filter(None, [headers.get(key.lower()), value]))
    if "content-length" in headers:
        await reader.readexactly(int(headers["content-length"]))
    said = {"server": name, "method": method, "target": target, "headers": headers}
    echo.asked.append(said)
    if "x-break" in headers:
        writer.transport.abort()
        return False
    body = b"" if method == "HEAD" else json.dumps(said).encode()
    lines = [
        f"HTTP/1.1 {headers.get('x-answer', '200')} Said",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "server: echo",
        f"x-server: {name}",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()
    return True
