"""How long nobody can write when the leader is killed: from SIGKILL to the first write after it."""

from __future__ import annotations

import asyncio
import contextlib
import time

from bench.consensus.requests import request
from bench.consensus.systems import NODES, Cluster

# A new request to every living node so often, whatever became of those before: a request that a
# node has lost delays nobody's figure.
_EVERY_SECONDS = 0.02
_SECONDS_MAX = 30.0


def failover(cluster: Cluster) -> float:
    """Seconds; the killed node is back, and all agree on the leader, at the end."""
    leader = cluster.wait_leader(*NODES)
    living = [node for node in NODES if node != leader]
    seconds = asyncio.run(_killed(cluster, leader, living))
    cluster.start(leader)
    cluster.wait_leader(*NODES)
    return seconds


async def _killed(cluster: Cluster, leader: int, living: list[int]) -> float:
    written = asyncio.Event()
    tasks: set[asyncio.Task[None]] = set()
    cluster.children[leader].kill()
    began = time.perf_counter()
    number = 0
    while not written.is_set():
        if time.perf_counter() - began > _SECONDS_MAX:
            raise RuntimeError(f"{cluster.name} takes no writes after its leader was killed")
        for node in living:
            number += 1
            write = _write(cluster.ports[node - 1], number, written)
            tasks.add(asyncio.create_task(write))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EVERY_SECONDS):
                await written.wait()
    seconds = time.perf_counter() - began
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    cluster.kill(leader)  # it is dead: only its remains are collected
    return seconds


async def _write(port: int, number: int, written: asyncio.Event) -> None:
    with contextlib.suppress(OSError, EOFError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request("put", number))
            answer = await reader.readuntil(b"\r\n\r\n")
            if answer.startswith(b"HTTP/1.1 200"):
                written.set()
        finally:
            writer.close()
