"""A client that asks much more than it may: `python -m support.flooder PORT SOURCE RATE SECONDS`.

Sends GET / from the address SOURCE at RATE a second over a few connections, and prints as JSON how
often each status came; a connection that was closed without an answer counts as 0.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

CONNECTIONS = 4
REQUEST = b"GET / HTTP/1.1\r\nhost: gateway.test\r\n\r\n"


async def flood(port: int, source: str, rate: float, seconds: float) -> Counter[int]:
    """How often each status came."""
    found: Counter[int] = Counter()
    shares = [_ask(port, source, rate / CONNECTIONS, seconds, found) for _ in range(CONNECTIONS)]
    await asyncio.gather(*shares)
    return found


async def _ask(port: int, source: str, rate: float, seconds: float, found: Counter[int]) -> None:
    clock = asyncio.get_running_loop()
    start = clock.time()
    sent = 0
    while clock.time() - start < seconds:
        reader = writer = None
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, local_addr=(source, 0)
            )
            while clock.time() - start < seconds:
                await asyncio.sleep(max(0.0, start + sent / rate - clock.time()))
                sent += 1
                found[await one(reader, writer)] += 1
        except (OSError, EOFError):
            found[0] += 1
        finally:
            if writer is not None:
                writer.close()


async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    """The status of one request; raises `OSError` or `EOFError` when there is no answer."""
    writer.write(REQUEST)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.partition(b"content-length: ")[2].partition(b"\r")[0]
    if length:
        await reader.readexactly(int(length))
    return int(head[9:12])


if __name__ == "__main__":
    port, source, rate, seconds = sys.argv[1:5]
    print(json.dumps(asyncio.run(flood(int(port), source, float(rate), float(seconds)))))
