"""Names by DNS: so many queries a second from a few clients, and as many as come back.

`python -m bench.registry.names PORT SERVICES RATE SECONDS` prints the latencies as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any, cast

import uvloop

from bench.registry.systems import name
from bench.report import percentile

_CLIENTS = 16
_GRACE_SECONDS = 1.0
_A, _IN = 1, 1
# One record: EDNS0 that offers 1,232 bytes (DNS flag day 2020).
_OPT = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"


def query(service: int) -> bytes:
    """A question for its addresses, without the two bytes of its id."""
    labels = b"".join(bytes([len(one)]) + one.encode() for one in name(service).split("."))
    head = b"\x01\x00" + (1).to_bytes(2, "big") + bytes(4) + (1).to_bytes(2, "big")
    return head + labels + b"\x00" + _A.to_bytes(2, "big") + _IN.to_bytes(2, "big") + _OPT


class _Client(asyncio.DatagramProtocol):
    def __init__(self, took: list[float], answers: list[int]) -> None:
        self._took = took
        self._answers = answers
        self._sent: dict[bytes, float] = {}
        self._number = 0
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        del addr
        sent = self._sent.pop(data[:2], None)
        if sent is not None:
            self._took.append(time.perf_counter() - sent)
            self._answers.append(int.from_bytes(data[6:8], "big"))

    def ask(self, question: bytes) -> None:
        assert self._transport is not None
        self._number = (self._number + 1) & 0xFFFF
        number = self._number.to_bytes(2, "big")
        self._sent[number] = time.perf_counter()
        self._transport.sendto(number + question)


async def main(port: int, services: int, rate: float, seconds: float) -> dict[str, float]:
    took: list[float] = []
    answers: list[int] = []
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(_CLIENTS):
        _, client = await loop.create_datagram_endpoint(
            lambda: _Client(took, answers), remote_addr=("127.0.0.1", port)
        )
        clients.append(client)
    questions = [query(service) for service in range(services)]
    began = time.perf_counter()
    number, total = 0, int(rate * seconds)
    while number < total:
        due = min(total, int((time.perf_counter() - began) * rate) + 1)
        for each in range(number, due):
            clients[each % _CLIENTS].ask(questions[each % services])
        number = due
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
    await asyncio.sleep(_GRACE_SECONDS)
    return {
        "asked": total,
        "answered": len(took),
        "records": min(answers, default=0),
        "p50_ms": percentile(took, 0.5) * 1000,
        "p99_ms": percentile(took, 0.99) * 1000,
    }


if __name__ == "__main__":
    print(
        json.dumps(
            uvloop.run(
                main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
            )
        )
    )
