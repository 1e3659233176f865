"""Reads by Consul's API: so many a second from a few clients, or as many as they get.

`python -m bench.registry.consul PORT SERVICES RATE SECONDS TOKEN` prints the latencies as JSON; a
RATE of 0 is as fast as it goes. Each service is read once before, so that what is kept is there.
"""

from __future__ import annotations

import asyncio
import functools
import json
import sys
import time
from collections import Counter, deque

import uvloop

from bench.registry.wire import Connection, connections
from bench.report import percentile

_CLIENTS = 16
_GRACE_SECONDS = 2.0


def read(service: int, token: str) -> bytes:
    """The healthy instances of a service, as every client asks for them."""
    path = f"/v1/health/service/s{service}?passing=1"
    return f"GET {path} HTTP/1.1\r\nhost: moreton\r\nx-consul-token: {token}\r\n\r\n".encode()


class Reads:
    """What was asked, over connections that are kept, and what came of it."""

    def __init__(self, clients: list[Connection], requests: list[bytes]) -> None:
        self.took: list[float] = []  # in seconds, from when it was due
        self.counts: Counter[str] = Counter()
        self._until = 0.0
        self._free = list(clients)
        self._requests = requests
        self._due: deque[float] = deque()

    def ask(self, due: float) -> None:
        """Ask as soon as a connection is free; the time counts from when it was *due*."""
        self._due.append(due)
        self._send()

    def flood(self, until: float) -> None:
        """Ask over every connection again and again."""
        self._until = until
        for _ in range(len(self._free)):
            self.ask(time.perf_counter())

    def _send(self) -> None:
        while self._due and self._free:
            connection, due = self._free.pop(), self._due.popleft()
            request = self._requests[self.counts["asked"] % len(self._requests)]
            self.counts["asked"] += 1
            connection.send(request, functools.partial(self._told, due=due))

    def _told(self, connection: Connection, *, due: float) -> None:
        now = time.perf_counter()
        if connection.status == 200:
            self.counts["answered"] += 1
            self.took.append(now - due)
        self._free.append(connection)
        if now < self._until:
            self._due.append(now)
        self._send()


async def main(port: int, services: int, rate: float, seconds: float, token: str) -> None:
    requests = [read(service, token) for service in range(services)]
    clients = await connections(port, _CLIENTS)
    first = time.perf_counter()
    for request in requests:
        await clients[0].ask(request)
    reads = Reads(clients, requests)
    began = time.perf_counter()
    if rate:
        number, total = 0, int(rate * seconds)
        while number < total:
            due = min(total, int((time.perf_counter() - began) * rate) + 1)
            for each in range(number, due):
                reads.ask(began + each / rate)
            number = due
            # A shorter sleep of uvloop's is none, and an asker that spins is not told in time.
            await asyncio.sleep(max(0.001, began + number / rate - time.perf_counter()))
    else:
        reads.flood(began + seconds)
        await asyncio.sleep(seconds)
    ended = time.perf_counter()
    while reads.counts["answered"] < reads.counts["asked"]:
        if time.perf_counter() - ended > _GRACE_SECONDS:
            break
        await asyncio.sleep(0.01)
    print(
        json.dumps(
            {
                "asked": reads.counts["asked"],
                "answered": reads.counts["answered"],
                "per_second": reads.counts["answered"] / (time.perf_counter() - began),
                "first_ms": (began - first) / len(requests) * 1000,
                "p50_ms": percentile(reads.took, 0.5) * 1000,
                "p99_ms": percentile(reads.took, 0.99) * 1000,
            }
        )
    )


if __name__ == "__main__":
    arguments = sys.argv
    values = (int(arguments[1]), int(arguments[2]), float(arguments[3]), float(arguments[4]))
    uvloop.run(main(*values, arguments[5]))
