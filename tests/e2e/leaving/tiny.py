"""A server as small as can be, which dies of SIGTERM at once: whatever is under way is lost.

Says its pid in `x-served-by`. `/held?NAME` says by a file `held-NAME-PID-NUMBER` that it has come,
and is answered once the file `go-NAME` is there.
"""

from __future__ import annotations

import asyncio
import os
import sys
from itertools import count
from pathlib import Path

NUMBERS = count()


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request after the other."""
    pid = str(os.getpid())
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            if path.startswith("/held?"):
                await hold(path.partition("?")[2], pid)
            writer.write(
                f"HTTP/1.1 200 OK\r\ncontent-length: {len(pid)}\r\nx-served-by: {pid}\r\n\r\n{pid}"
                "".encode()
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def hold(name: str, pid: str) -> None:
    """Wait until those of *name* may be answered."""
    Path(f"held-{name}-{pid}-{next(NUMBERS)}").touch()
    while not Path(f"go-{name}").exists():
        await asyncio.sleep(0.02)


async def main() -> None:
    """Serve at the port that is given; fail while the file `broken` is there."""
    port, name = int(sys.argv[1]), sys.argv[2]
    if Path(f"broken-{name}").exists():
        sys.exit(9)
    server = await asyncio.start_server(talk, "127.0.0.1", port, backlog=512)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
