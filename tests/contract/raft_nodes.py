"""Nodes of one cluster in this process: real folders, real disks, TCP on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from moreton.consensus.core.state import Role, Settings
from moreton.store import open_store
from moreton.store.raft import RaftStore, open_node
from moreton.store.raft.operating.making import join_cluster, make_first
from support.ports import free_port

# Elections in a fifth of the usual time: a test machine's loopback loses nothing.
QUICK = Settings(
    election_timeout=timedelta(milliseconds=200), heartbeat_interval=timedelta(milliseconds=20)
)
SECONDS_MAX = 60.0


class Nodes:
    """The nodes of a cluster, by number, in folders under *folder*."""

    def __init__(self, folder: Path, *, settings: Settings = QUICK) -> None:
        self.folder = folder
        self.settings = settings
        self.stores: dict[int, RaftStore] = {}

    def path(self, number: int) -> Path:
        return self.folder / f"node{number}"

    async def found(self) -> RaftStore:
        """The first node, running."""
        make_first(self.path(1), f"127.0.0.1:{free_port()}")
        return await self.start(1)

    async def join(self, number: int) -> RaftStore:
        """One more node, running, and a voter."""
        member = self.stores[min(self.stores)]
        address = member.node.status().addresses[min(self.stores)]
        secret = (self.path(1) / "secret").read_bytes().strip()
        at = f"127.0.0.1:{free_port()}"
        await join_cluster(self.path(number), at, address, secret)
        store = await self.start(number)
        await self.until(
            lambda: (
                number in member.node.status().raft.configuration.voters
                and store.node.status().raft.leader is not None
            )
        )
        return store

    async def start(self, number: int) -> RaftStore:
        store = RaftStore(open_node(self.path(number), settings=self.settings))
        self.stores[number] = store
        await store.node.wait_started()
        return store

    async def stop(self, number: int) -> None:
        await self.stores.pop(number).close()

    async def stop_all(self) -> None:
        stores, self.stores = self.stores, {}
        await asyncio.gather(*(store.close() for store in stores.values()))

    async def leader(self) -> RaftStore:
        await self.until(lambda: len(self._leading()) == 1)
        return self._leading()[0]

    async def follower(self) -> RaftStore:
        leader = await self.leader()
        return next(store for store in self.stores.values() if store is not leader)

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(SECONDS_MAX):
            while not holds():
                await asyncio.sleep(0.01)

    def url(self, number: int) -> str:
        return f"raft:///{self.path(number)}"

    def open(self, number: int) -> RaftStore:
        """As a user opens it: with the settings that users have."""
        store = open_store(self.url(number))
        assert isinstance(store, RaftStore)
        self.stores[number] = store
        return store

    def _leading(self) -> list[RaftStore]:
        return [
            store for store in self.stores.values() if store.node.status().raft.role is Role.LEADER
        ]


@asynccontextmanager
async def running_nodes(folder: Path, *, size: int = 3) -> AsyncIterator[Nodes]:
    """A cluster of *size* voters."""
    nodes = Nodes(folder)
    try:
        await nodes.found()
        for number in range(2, size + 1):
            await nodes.join(number)
        yield nodes
    finally:
        await nodes.stop_all()
