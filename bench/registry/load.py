"""The fleet that a registry serves: instances that renew, and others that watch them.

`python -m bench.registry.load SYSTEM PORT TOKEN SERVICES` takes one command a line, as JSON, and
answers each with one line: so that thousands of connections stay open from one measurement to the
next. It is a process of its own: what it takes of the machine is not what is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, cast

import uvloop

from bench.registry.systems import Etcd, Moreton, System
from bench.registry.wire import Connection, ask_each, connections
from bench.report import percentile

_GRACE_SECONDS = 5.0
_BATCH = 500
_WRITERS = 32


class Watcher(asyncio.Protocol):
    """Counts what it is told of, and of which service."""

    def __init__(self, load: Load, service: int) -> None:
        self._load = load
        self._service = service
        self._data = b""
        self.heard = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._load.system.watch(self._service))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._load.lost += 1

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if not self.heard.done():
            self.heard.set_result(None)
        whole, end, rest = (self._data + data).rpartition(b"\n")
        self._data = rest
        for notice in self._load.system.notices(whole + end):
            self._load.note(notice.change, now, foreign=notice.service != self._service)


class Load:
    """What is open, and what was seen."""

    def __init__(self, system: System, port: int, services: int) -> None:
        self.system = system
        self._port = port
        self._services = services
        self._instances: list[Connection] = []
        self._writers: list[Connection] = []
        self._watchers: list[Watcher] = []
        self._renewals: list[bytes] = []
        self._next = 0
        self._changes: dict[int, float] = {}
        self._changed = 0
        self._latencies: list[float] = []
        self._seen: Counter[str] = Counter()
        self.lost = 0

    async def register(self, count: int) -> dict[str, Any]:
        """*count* instances, each over a connection of its own that stays open."""
        began = time.perf_counter()
        self._instances = await connections(self._port, count)
        await ask_each(self._instances, self.system.registration)
        self._renewals = [self.system.renewal(number) for number in range(count)]
        return {"seconds": time.perf_counter() - began}

    async def renew(self, rate: float, seconds: float) -> dict[str, Any]:
        """Each instance in its turn, evenly, *rate* a second in all."""
        took: list[float] = []
        counts: Counter[str] = Counter()

        def told(connection: Connection) -> None:
            counts["renewed" if connection.status == 200 else "failed"] += 1
            took.append(connection.took)

        def send(_: int) -> None:
            number = self._next % len(self._instances)
            self._next += 1
            connection = self._instances[number]
            if connection.is_busy or not connection.is_open:
                counts["failed"] += 1
            else:
                connection.send(self._renewals[number], told)
                counts["sent"] += 1

        lasted = await _paced(send, rate, seconds)
        await _until(lambda: counts["renewed"] + counts["failed"] >= counts["sent"])
        lost = counts["sent"] - counts["renewed"]
        failed = max(lost, counts["failed"])
        return {"renewed": counts["renewed"], "failed": failed, "seconds": lasted, **_figures(took)}

    async def renew_together(self, seconds: float) -> dict[str, Any]:
        """All instances every 5 s, so many in one request, over one connection."""
        assert isinstance(self.system, Moreton), "etcd has no such request"
        count = len(self._instances)
        groups = [range(n, min(n + _BATCH, count)) for n in range(0, count, _BATCH)]
        requests = [self.system.renewals(group) for group in groups]
        await self._connect_writers()
        took: list[float] = []
        renewed = 0
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            number = len(took) % len(groups)
            body = await self._writers[0].ask(requests[number])
            took.append(self._writers[0].took)
            renewed += len(groups[number]) - body.count(b"null")
            await asyncio.sleep(5.0 / len(groups) - took[-1])
        lasted = time.perf_counter() - began
        return {"renewed": renewed, "failed": 0, "seconds": lasted, **_figures(took)}

    async def flood(self, clients: int, seconds: float) -> dict[str, Any]:
        """*clients* renew, each again as soon as it was answered."""
        took: list[float] = []
        failed = 0
        end = time.perf_counter() + seconds

        def told(connection: Connection) -> None:
            nonlocal failed
            failed += connection.status != 200
            took.append(connection.took)
            if time.perf_counter() < end and connection.is_open:
                connection.send(self._renewals[numbers[connection]], told)

        numbers = {self._instances[number]: number for number in range(clients)}
        for connection, number in numbers.items():
            connection.send(self._renewals[number], told)
        await asyncio.sleep(seconds)
        await _until(lambda: not any(each.is_busy for each in numbers))
        return {"renewed": len(took), "failed": failed, "seconds": seconds, **_figures(took)}

    async def watch(self, count: int) -> dict[str, Any]:
        """*count* watchers, as many of each service as of any other."""
        loop = asyncio.get_running_loop()
        for number in range(count):
            watcher = Watcher(self, number % self._services)
            await loop.create_connection(lambda it=watcher: it, "127.0.0.1", self._port)  # type: ignore[misc]
            self._watchers.append(watcher)
        async with asyncio.timeout(60):
            await asyncio.gather(*(each.heard for each in self._watchers))
        return {}

    async def change(self, rate: float, seconds: float, renewals: float) -> dict[str, Any]:
        """*rate* changes a second for all who watch, while *renewals* a second go on."""
        await self._connect_writers()
        self._latencies.clear()
        self._seen.clear()
        counts: Counter[str] = Counter()
        wrote: list[float] = []

        def told(connection: Connection) -> None:
            counts["done" if connection.status // 100 == 2 else "failed"] += 1
            wrote.append(connection.took)

        def send(_: int) -> None:
            free = next((each for each in self._writers if not each.is_busy), None)
            if free is None:
                counts["late"] += 1
                return
            self._changed += 1
            self._changes[self._changed] = time.perf_counter()
            counts["sent"] += 1
            number = self._changed * 7 % len(self._instances)
            free.send(self.system.change(number, self._changed), told)

        renewing = asyncio.create_task(self.renew(renewals, seconds)) if renewals else None
        await _paced(send, rate, seconds)
        expected = counts["sent"] * len(self._watchers) // self._services
        await _until(lambda: self._seen["own"] >= expected and counts["done"] >= counts["sent"])
        renewed = await renewing if renewing is not None else {}
        return {
            "changes": counts["sent"],
            "failed": counts["failed"] + counts["late"],
            "expected": expected,
            "own": self._seen["own"],
            "foreign": self._seen["foreign"],
            "lost": self.lost,
            "write_p50_ms": percentile(wrote, 0.5) * 1000,
            "renewals": renewed,
            **_figures(self._latencies),
        }

    async def _connect_writers(self) -> None:
        """Anew: what was idle for long is closed by any server."""
        for each in self._writers:
            each.close()
        self._writers = await connections(self._port, _WRITERS)

    def note(self, change: int, now: float, *, foreign: bool) -> None:
        """A watcher was told of *change*."""
        self._seen["foreign" if foreign else "own"] += 1
        self._latencies.append(now - self._changes[change])


async def _paced(send: Callable[[int], None], rate: float, seconds: float) -> float:
    """Call *send* so often, evenly; how many seconds it took."""
    began = time.perf_counter()
    total = int(rate * seconds)
    done = 0
    while done < total:
        due = min(total, int((time.perf_counter() - began) * rate) + 1)
        for number in range(done, due):
            send(number)
        done = due
        await asyncio.sleep(max(0.0, began + done / rate - time.perf_counter()))
    return time.perf_counter() - began


async def _until(condition: Callable[[], bool]) -> None:
    """Wait for what is still under way; what never comes shows in the figures."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_GRACE_SECONDS):
            while not condition():
                await asyncio.sleep(0.01)


def _figures(took: list[float]) -> dict[str, float]:
    return {"p50_ms": percentile(took, 0.5) * 1000, "p99_ms": percentile(took, 0.99) * 1000}


async def main(name: str, port: int, token: str, services: int) -> None:
    system: System = Moreton(token, services) if name == "moreton" else Etcd(services)
    load = Load(system, port, services)
    work: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
        "register": load.register,
        "renew": load.renew,
        "renew_together": load.renew_together,
        "flood": load.flood,
        "watch": load.watch,
        "change": load.change,
    }
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        print(json.dumps(await work[asked.pop("do")](**asked)), flush=True)


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
