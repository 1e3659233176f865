"""A server as small as can be, which dies of SIGTERM at once: whatever is under way is lost.

Says its pid in `x-served-by`; `/slow` takes as long as the query says. Writes down each start.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request after the other."""
    pid = str(os.getpid())
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            if path.startswith("/slow?"):
                await asyncio.sleep(float(path.partition("?")[2]))
            writer.write(
                f"HTTP/1.1 200 OK\r\ncontent-length: {len(pid)}\r\nx-served-by: {pid}\r\n\r\n{pid}"
                "".encode()
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


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
