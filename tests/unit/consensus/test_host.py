"""A host keeps its word: what is answered is done once, on every node, through every change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from moreton.consensus.core.messages import Configuration, NodeId
from moreton.consensus.core.state import Role, Settings
from moreton.consensus.host import HostSettings, RaftHost
from unit.consensus.memory_ports import MemoryDisk, MemoryNetwork

FAST = Settings(
    election_timeout=timedelta(milliseconds=150), heartbeat_interval=timedelta(milliseconds=15)
)


class Register:
    """Appends commands to a list; answers with how many there are."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.index = 0

    def apply(self, index: int, command: bytes) -> object:
        assert index >= self.index
        self.index = index
        self.commands.append(command.decode())
        return len(self.commands)

    def freeze(self) -> Callable[[], bytes]:
        held = list(self.commands)
        return lambda: json.dumps(held).encode()

    def restore(self, snapshot: bytes) -> None:
        self.commands = json.loads(snapshot)


class Cluster:
    def __init__(self, *nodes: NodeId, bounds: HostSettings | None = None) -> None:
        self.network = MemoryNetwork()
        self.bounds = bounds or HostSettings()
        self.addresses = {node: f"node-{node}:7000" for node in nodes}
        configuration = Configuration(voters=frozenset(nodes))
        self.disks = {n: MemoryDisk.founded(configuration, self.addresses) for n in nodes}
        self.machines: dict[NodeId, Register] = {}
        self.hosts: dict[NodeId, RaftHost] = {}

    async def start(self, node: NodeId) -> RaftHost:
        machine = self.machines[node] = Register()

        async def answer(source: NodeId, question: bytes) -> bytes:
            return b"%d to %d: %s" % (node, source, question)

        host = self.hosts[node] = RaftHost(
            node,
            disk=self.disks.setdefault(node, MemoryDisk()),
            transport=self.network.transport(node),
            machine=machine,
            addresses=self.addresses,
            settings=FAST,
            bounds=self.bounds,
            answer=answer,
        )
        await host.start()
        return host

    async def leader(self) -> RaftHost:
        while True:
            for host in self.hosts.values():
                if host.status().raft.role is Role.LEADER:
                    return host
            await asyncio.sleep(0.005)


@asynccontextmanager
async def cluster(*nodes: NodeId, bounds: HostSettings | None = None) -> AsyncIterator[Cluster]:
    one = Cluster(*nodes, bounds=bounds)
    for node in nodes:
        await one.start(node)
    try:
        yield one
    finally:
        await asyncio.gather(*(host.close() for host in one.hosts.values()))


@pytest.mark.parametrize("nodes", [(1,), (1, 2, 3)])
async def test_a_proposal_from_any_node_is_answered_by_what_it_did_there(
    nodes: tuple[NodeId, ...],
) -> None:
    async with cluster(*nodes) as raft:
        for number, host in enumerate(raft.hosts.values(), 1):
            assert await host.propose(b"x%d" % number) == number
        for node, host in raft.hosts.items():
            await host.read_barrier()
            assert raft.machines[node].commands == [f"x{n}" for n in range(1, len(nodes) + 1)]


async def test_many_proposals_at_once_share_few_writes() -> None:
    async with cluster(1, 2, 3) as raft:
        host = await raft.leader()
        await host.propose(b"first")
        before = len(raft.disks[host.status().raft.node].writes)
        await asyncio.gather(*(host.propose(b"%d" % n) for n in range(500)))
        writes = len(raft.disks[host.status().raft.node].writes) - before
        assert writes < 20
        assert len(raft.machines[host.status().raft.node].commands) == 501
