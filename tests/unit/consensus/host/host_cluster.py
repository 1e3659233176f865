"""A cluster of real hosts in one loop, over disks and a network in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from moreton.consensus.core.configuration import ChangeKind, ConfigurationChange, NodeChange
from moreton.consensus.core.messages import Configuration, NodeId
from moreton.consensus.core.state import Role, Settings
from moreton.consensus.host import HostSettings, RaftHost, encode_addresses
from moreton.kernel.time import Clock
from unit.consensus.memory_ports import MemoryDisk, MemoryNetwork

FAST = Settings(
    election_timeout=timedelta(milliseconds=200),
    heartbeat_interval=timedelta(milliseconds=20),
    kept_entries=3,
)
SOON = timedelta(milliseconds=300)


class Register:
    """Appends commands to a list; answers with how many there are."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.restored = 0
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
        self.restored += 1
        self.commands = json.loads(snapshot)


class Cluster:
    def __init__(
        self, *nodes: NodeId, bounds: HostSettings | None = None, clock: Clock | None = None
    ) -> None:
        self.clock = clock
        self.network = MemoryNetwork()
        self.bounds = bounds or HostSettings()
        self.addresses = {node: f"node-{node}:7000" for node in nodes}
        configuration = Configuration(voters=frozenset(nodes))
        self.disks = {n: MemoryDisk.founded(configuration, self.addresses) for n in nodes}
        self.machines: dict[NodeId, Register] = {}
        self.hosts: dict[NodeId, RaftHost] = {}
        self._ends = 0
        self.heard: dict[NodeId, list[tuple[int, NodeId | None]]] = {}

    async def start(self, node: NodeId) -> RaftHost:
        machine = self.machines[node] = Register()
        heard = self.heard[node] = []

        async def answer(source: NodeId, question: bytes) -> bytes:
            if question == b"fail":
                message = "no answer to that"
                raise ValueError(message)
            return b"%d to %d: %s" % (node, source, question)

        host = self.hosts[node] = RaftHost(
            node,
            disk=self.disks.setdefault(node, MemoryDisk()),
            transport=self.network.transport(node),
            machine=machine,
            addresses=self.addresses,
            settings=FAST,
            bounds=self.bounds,
            clock=self.clock,
            on_leader=lambda term, leader: heard.append((term, leader)),
            answer=answer,
        )
        await host.start()
        return host

    async def stop(self, node: NodeId) -> None:
        await self.hosts.pop(node).close()

    async def restart(self, node: NodeId) -> RaftHost:
        await self.stop(node)
        return await self.start(node)

    def isolate(self, node: NodeId) -> None:
        self.network.isolate(node)

    async def leader(self, *, but: NodeId = 0) -> NodeId:
        """The node that leads, other than *but*."""
        while True:
            for node, host in self.hosts.items():
                status = host.status()
                if node != but and status.raft.role is Role.LEADER and status.error is None:
                    return node
            await self.pause()

    async def followers(self) -> list[NodeId]:
        leader = await self.leader()
        return [node for node in self.hosts if node != leader]

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not is_so():
                await self.pause()

    async def pause(self) -> None:
        await asyncio.sleep(0.005)

    async def same_everywhere(self) -> list[str]:
        """What every running node has, once they agree."""
        host = next(iter(self.hosts.values()))
        self._ends += 1
        end = f"end {self._ends}"
        await host.propose(end.encode())
        await self.until(lambda: all(end in self.machines[n].commands for n in self.hosts))
        lists = [self.machines[node].commands for node in self.hosts]
        assert all(one == lists[0] for one in lists)
        return [one for one in lists[0] if not one.startswith("end ")]


@asynccontextmanager
async def cluster(
    *nodes: NodeId, bounds: HostSettings | None = None, clock: Clock | None = None
) -> AsyncIterator[Cluster]:
    one = Cluster(*nodes, bounds=bounds, clock=clock)
    for node in nodes:
        await one.start(node)
    try:
        yield one
    finally:
        await asyncio.gather(*(host.close() for host in one.hosts.values()))


def change(kind: ChangeKind, node: NodeId, address: str = "") -> ConfigurationChange:
    context = encode_addresses({node: address}) if address else b""
    return ConfigurationChange((NodeChange(kind, node),), context=context)
