"""Stores of one cluster in one loop, on disks and a network in memory that can be cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from moreton.consensus.core.messages import Configuration, NodeId
from moreton.consensus.core.state import Role, Settings
from moreton.consensus.host import HostSettings
from moreton.kernel.time import Clock, SystemClock
from moreton.store.raft.core.address import Reads
from moreton.store.raft.node import ClusterNode
from moreton.store.raft.store import RaftStore
from unit.consensus.memory_ports import MemoryDisk, MemoryNetwork

FAST = Settings(
    election_timeout=timedelta(milliseconds=150), heartbeat_interval=timedelta(milliseconds=15)
)
SECONDS_MAX = 30.0


class MemoryCluster:
    """Founded by *nodes*; a store is killed by closing it while it is isolated."""

    def __init__(
        self,
        *nodes: NodeId,
        bounds: HostSettings | None = None,
        clock: Clock | None = None,
        settings: Settings = FAST,
    ) -> None:
        self.settings = settings
        self.network = MemoryNetwork()
        self.bounds = bounds or HostSettings(timeout=timedelta(seconds=10))
        self.addresses = {node: f"memory:{node}" for node in nodes}
        founded = Configuration(frozenset(nodes))
        self.disks = {node: MemoryDisk.founded(founded, self.addresses) for node in nodes}
        self.stores: dict[NodeId, RaftStore] = {}
        self._clock = clock or SystemClock()

    def open(self, node: NodeId, *, reads: Reads = Reads.LINEARIZABLE) -> RaftStore:
        self.stores[node] = RaftStore(
            ClusterNode(
                node,
                disk=self.disks.setdefault(node, MemoryDisk()),
                transport=self.network.transport(node),
                addresses=self.addresses,
                clock=self._clock,
                timeout=self.bounds.timeout,
                reached=lambda: self.network.transports.keys() - {node},
                settings=self.settings,
                bounds=self.bounds,
            ),
            reads=reads,
        )
        return self.stores[node]

    def leading(self) -> list[NodeId]:
        """Who thinks that it leads."""
        return [
            node
            for node, store in self.stores.items()
            if store.node.status().raft.role is Role.LEADER
        ]

    async def leader(self) -> RaftStore:
        await self.until(lambda: len(self.leading()) == 1)
        return self.stores[self.leading()[0]]

    async def followers(self) -> list[RaftStore]:
        leader = await self.leader()
        return [store for store in self.stores.values() if store is not leader]

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(SECONDS_MAX):
            while not holds():
                await asyncio.sleep(0.005)


@asynccontextmanager
async def memory_cluster(
    *nodes: NodeId,
    bounds: HostSettings | None = None,
    clock: Clock | None = None,
    settings: Settings = FAST,
) -> AsyncIterator[MemoryCluster]:
    cluster = MemoryCluster(*nodes, bounds=bounds, clock=clock, settings=settings)
    for node in nodes:
        cluster.open(node)
    for store in cluster.stores.values():
        await store.node.wait_started()
    try:
        yield cluster
    finally:
        cluster.network.heal()
        await asyncio.gather(*(store.close() for store in cluster.stores.values()))
