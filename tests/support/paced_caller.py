"""`paced_caller.py FILE PORT TASKS SECONDS`: calls a third party in turns that processes share."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import timedelta

import httpx

from moreton.ratelimit import AnsweredWindow, Gcra
from moreton.ratelimit.clients.httpx import AsyncPacedTransport
from moreton.ratelimit.shared import SharedLimiter


async def main() -> None:
    path, port, tasks, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    # The second spreads what the first lets through at once.
    limiter = SharedLimiter(path, AnsweredWindow("50/s"), Gcra("200/s", burst=1), keys_max=16)
    transport = AsyncPacedTransport(limiter, wait=timedelta(minutes=1))
    async with httpx.AsyncClient(transport=transport, timeout=60) as client:
        url = f"http://127.0.0.1:{port}/"
        end = time.monotonic() + seconds

        async def call() -> int:
            found = 0
            while time.monotonic() < end:
                found += (await client.get(url)).status_code == 200
            return found

        print(sum(await asyncio.gather(*(call() for _ in range(tasks)))), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
