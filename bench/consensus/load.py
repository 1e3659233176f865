"""The client: connections that each have one request under way, to one node, for some seconds.

`python -m bench.consensus.load PORT CLIENTS SECONDS put|get` prints what it measured as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast

import uvloop

from bench.consensus.requests import KEYS, request
from bench.report import percentile

_WARM_UP_SHARE = 0.25


class Client(asyncio.Protocol):
    """Sends the next request when the answer to the one before has come, until *until*."""

    def __init__(self, requests: list[bytes], first: int, begin: float, until: float) -> None:
        self._requests = requests
        self._number = first
        self._begin, self._until = begin, until
        self._sent = 0.0
        self._data = b""
        self._transport: asyncio.Transport | None = None
        self.latencies: list[float] = []
        self.failed = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Those of uvloop are not of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return
        at = self._data.find(b"ontent-Length: ")
        size = int(self._data[at + 15 : self._data.index(b"\r\n", at)])
        if len(self._data) < end + 4 + size:
            return
        now = time.perf_counter()
        if not self._data.startswith(b"HTTP/1.1 200"):
            self.failed += 1
        elif self._begin <= self._sent and now <= self._until:
            self.latencies.append(now - self._sent)
        self._data = b""
        if now < self._until:
            self._next()
        else:
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.failed += not self.ended.done()
        self._end()

    def _next(self) -> None:
        assert self._transport is not None
        self._number = (self._number + 1) % KEYS
        self._sent = time.perf_counter()
        self._transport.write(self._requests[self._number])

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def main(port: int, clients: int, seconds: float, operation: str) -> None:
    requests = [request(operation, number) for number in range(KEYS)]
    begin = time.perf_counter() + seconds * _WARM_UP_SHARE
    loop = asyncio.get_running_loop()
    running = []
    for number in range(clients):
        _, client = await loop.create_connection(
            lambda number=number: Client(requests, number * 7, begin, begin + seconds),  # type: ignore[misc]
            "127.0.0.1",
            port,
        )
        running.append(client)
    async with asyncio.timeout(seconds + 60):
        await asyncio.gather(*(client.ended for client in running))
    latencies = [each for client in running for each in client.latencies]
    document = {
        "per_second": len(latencies) / seconds,
        "p50_ms": percentile(latencies, 0.5) * 1000,
        "p99_ms": percentile(latencies, 0.99) * 1000,
        "failed": sum(client.failed for client in running),
    }
    print(json.dumps(document))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]))
