"""One node of a PySyncObj cluster, with its journal on disk, behind the front door.

`python -m bench.consensus.pysyncobj_node FOLDER NODE PORT PEER_PORT... [unbatched] [synced]`, as
for Moreton. *unbatched*: it sends at once, instead of every 100 ms; a setting of its own.
*synced*: its journal is synced whenever it was written to, which no setting of it does.
It has no linearizable read, so that one goes through its log, as its documentation's counters do.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop
from pysyncobj import SyncObj, SyncObjConf, replicated
from pysyncobj.journal import FileJournal

from bench.consensus.front import serve


class _Dictionary(SyncObj):  # type: ignore[misc]  # it has no types
    def __init__(self, own: str, others: list[str], conf: SyncObjConf) -> None:
        self._values: dict[bytes, bytes] = {}
        self._revision = 0
        super().__init__(own, others, conf)

    @replicated  # type: ignore[untyped-decorator]
    def write(self, key: bytes, value: bytes) -> int:
        self._values[key] = value
        self._revision += 1
        return self._revision

    @replicated  # type: ignore[untyped-decorator]
    def read(self, key: bytes) -> bytes | None:
        return self._values.get(key)


def sync_journal() -> None:
    """Let every entry be on disk before anybody is told of it."""
    add = FileJournal.add

    def add_and_sync(journal: Any, *arguments: Any) -> None:
        add(journal, *arguments)
        journal.flush()

    FileJournal.add = add_and_sync


class PySyncObjTable:
    def __init__(
        self, folder: Path, node: int, peer_ports: list[int], options: frozenset[str]
    ) -> None:
        if "synced" in options:
            sync_journal()
        self._addresses = [f"127.0.0.1:{port}" for port in peer_ports]
        self._node = node
        self._loop = asyncio.get_running_loop()
        self._done: deque[tuple[asyncio.Future[Any], Any, Any]] = deque()
        own = self._addresses[node - 1]
        others = [address for address in self._addresses if address != own]
        folder.mkdir(exist_ok=True)
        conf = SyncObjConf(
            journalFile=str(folder / "journal"),
            fullDumpFile=str(folder / "dump"),
            appendEntriesUseBatch="unbatched" not in options,
        )
        self._dictionary = _Dictionary(own, others, conf)

    async def put(self, key: bytes, value: bytes) -> int:
        return int(await self._call(self._dictionary.write, key, value))

    async def get(self, key: bytes) -> bytes | None:
        value: bytes | None = await self._call(self._dictionary.read, key)
        return value

    def status(self) -> tuple[int, int | None]:
        leader = self._dictionary._getLeader()  # noqa: SLF001 - how its own examples ask
        return self._node, self._addresses.index(leader.id) + 1 if leader else None

    async def _call(self, method: Callable[..., None], *arguments: bytes) -> Any:
        future: asyncio.Future[Any] = self._loop.create_future()

        def done(result: Any, error: Any) -> None:
            # From its own thread: one wake-up of the loop for all that are done by then.
            self._done.append((future, result, error))
            if len(self._done) == 1:
                self._loop.call_soon_threadsafe(self._settle)

        method(*arguments, callback=done)
        return await future

    def _settle(self) -> None:
        while self._done:
            future, result, error = self._done.popleft()
            if future.done():
                continue
            if error:
                future.set_exception(RuntimeError(f"PySyncObj: failure {error}"))
            else:
                future.set_result(result)


async def main(folder: Path, words: list[str]) -> None:
    node, port, *peer_ports = (int(word) for word in words if word.isdigit())
    options = frozenset(word for word in words if not word.isdigit())
    server = await serve(PySyncObjTable(folder, node, peer_ports, options), port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), sys.argv[2:]))
