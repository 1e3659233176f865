"""A third party that allows so many requests in any second, and counts what it refused.

`third_party.py LIMIT`: prints its port, serves until its input ends, then prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque

_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
_NO = b"HTTP/1.1 429 No\r\nretry-after: 1\r\ncontent-length: 2\r\n\r\nno"


class Party:
    """Remembers the moment of each request that it let in: an exact sliding window."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.moments: deque[float] = deque()
        self.accepted: list[float] = []
        self.refused = 0

    def answer(self) -> bytes:
        now = time.monotonic()
        while self.moments and self.moments[0] <= now - 1:
            self.moments.popleft()
        if len(self.moments) >= self.limit:
            self.refused += 1
            return _NO
        self.moments.append(now)
        self.accepted.append(now)
        return _OK

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(self.answer())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def main() -> None:
    party = Party(int(sys.argv[1]))
    server = await asyncio.start_server(party.serve, "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(json.dumps({"accepted": party.accepted, "refused": party.refused}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
