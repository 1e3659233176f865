"""etcd's own way to renew: one gRPC stream on which its client sends for all of its leases.

`python -m bench.registry.stream PORT LEASES RATE SECONDS` prints what it measured as JSON; a RATE
of 0 sends as fast as answers come, 64 under way.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import grpc.aio

from bench.report import percentile

_METHOD = "/etcdserverpb.Lease/LeaseKeepAlive"
_UNDER_WAY = 64
_ID_FIELD = 0x10  # of LeaseKeepAliveResponse: its second, a number
_HEADER_FIELD = 0x0A


def _number(value: int) -> bytes:
    """A varint of protobuf."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _read_number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _request(lease: int) -> bytes:
    return b"\x08" + _number(lease)


def _lease(answer: bytes) -> int:
    """The lease that *answer* is about; 0 if it says that there is none any more."""
    at, found = 0, {}
    while at < len(answer):
        tag, at = answer[at], at + 1
        if tag == _HEADER_FIELD:
            size, at = _read_number(answer, at)
            at += size
        else:
            found[tag], at = _read_number(answer, at)
    has_time = found.get(0x18, 0) > 0
    return found.get(_ID_FIELD, 0) if has_time else 0


async def main(port: int, leases: int, rate: float, seconds: float) -> dict[str, Any]:
    sent: dict[int, float] = {}
    took: list[float] = []
    room = asyncio.Semaphore(_UNDER_WAY)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.stream_stream(_METHOD, _request, _lease)()
        began = time.perf_counter()

        async def receive() -> None:
            while (lease := await call.read()) is not grpc.aio.EOF:
                if lease:
                    took.append(time.perf_counter() - sent.pop(lease))
                room.release()

        receiving = asyncio.create_task(receive())
        number = 0
        while (now := time.perf_counter()) < began + seconds:
            if rate:
                await asyncio.sleep(max(0.0, began + number / rate - now))
            else:
                await room.acquire()
            lease = number % leases + 1
            sent[lease] = time.perf_counter()
            await call.write(lease)
            number += 1
        lasted = time.perf_counter() - began
        await call.done_writing()
        async with asyncio.timeout(10):
            await receiving
    return {
        "renewed": len(took),
        "failed": number - len(took),
        "seconds": lasted,
        "p50_ms": percentile(took, 0.5) * 1000,
        "p99_ms": percentile(took, 0.99) * 1000,
    }


if __name__ == "__main__":
    print(
        json.dumps(
            asyncio.run(
                main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
            )
        )
    )
