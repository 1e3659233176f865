"""Disks and a network that live in memory, for hosts in one process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from moreton.consensus.core.events import Persist
from moreton.consensus.core.messages import (
    Configuration,
    InstallSnapshot,
    Message,
    NodeId,
    SnapshotMeta,
)
from moreton.consensus.core.state import Recovered
from moreton.consensus.errors import ConsensusError
from moreton.consensus.host import first_snapshot
from moreton.consensus.ports import Arrivals


class Unreached(ConsensusError):
    """A question did not arrive, or its answer did not."""


class MemoryDisk:
    """Keeps what was synced when its host is thrown away; *fail* raises on the next write."""

    def __init__(
        self, recovered: Recovered | None = None, snapshot: tuple[SnapshotMeta, bytes] | None = None
    ) -> None:
        self._lock = threading.Lock()
        self.recovered = recovered or Recovered()
        self.snapshot = snapshot
        self.fail: Exception | None = None
        self.writes: list[list[Persist]] = []
        self.compacted = 0
        self.closed = False

    @classmethod
    def founded(cls, configuration: Configuration, addresses: Mapping[NodeId, str]) -> MemoryDisk:
        first = Recovered.first(configuration)
        return cls(first, (first.snapshot, first_snapshot(addresses)))

    def load(self) -> tuple[Recovered, bytes | None]:
        with self._lock:
            if self.snapshot is None:
                return self.recovered, None
            meta, data = self.snapshot
            return replace(self.recovered, snapshot=meta), data

    def write(self, records: Sequence[Persist]) -> None:
        with self._lock:
            if self.fail is not None:
                raise self.fail
            self.writes.append(list(records))
            for record in records:
                self._fold(record)

    def _fold(self, persist: Persist) -> None:
        now = self.recovered
        if persist.snapshot is not None:
            now = replace(now, snapshot=persist.snapshot, entries=())
        if persist.entries:
            first = persist.entries[0].index
            kept = tuple(entry for entry in now.entries if entry.index < first)
            now = replace(now, entries=kept + persist.entries)
        if persist.hard_state is not None:
            now = replace(now, hard_state=persist.hard_state)
        self.recovered = now

    def write_snapshot(self, snapshot: SnapshotMeta, data: bytes) -> None:
        with self._lock:
            if self.fail is not None:
                raise self.fail
            if self.snapshot is None or self.snapshot[0].index < snapshot.index:
                self.snapshot = (snapshot, data)

    def read_snapshot(self) -> tuple[SnapshotMeta, bytes] | None:
        with self._lock:
            return self.snapshot

    def compact(self, index: int) -> None:
        with self._lock:
            self.compacted = index
            kept = tuple(entry for entry in self.recovered.entries if entry.index > index)
            self.recovered = replace(self.recovered, entries=kept)

    def size_bytes(self) -> int:
        return sum(len(entry.data) for entry in self.recovered.entries)

    def close(self) -> None:
        self.closed = True


class MemoryNetwork:
    """Carries messages of transports in one loop; links can be cut, messages dropped."""

    def __init__(self) -> None:
        self.transports: dict[NodeId, MemoryTransport] = {}
        self.cut: set[tuple[NodeId, NodeId]] = set()
        self.drop: Callable[[Message], bool] = lambda _: False
        self.sent: list[Message] = []

    def transport(self, node: NodeId) -> MemoryTransport:
        return MemoryTransport(self, node)

    def isolate(self, node: NodeId) -> None:
        for other in self.transports:
            self.cut |= {(node, other), (other, node)}

    def heal(self) -> None:
        self.cut.clear()

    def reach(self, source: NodeId, target: NodeId) -> MemoryTransport | None:
        other = self.transports.get(target)
        if other is None or (source, target) in self.cut or source not in other.peers:
            return None
        return other


class MemoryTransport:
    """The port's promises, without a socket."""

    def __init__(self, network: MemoryNetwork, node: NodeId) -> None:
        self._network = network
        self._node = node
        self.peers: dict[NodeId, str] = {}
        self.arrivals: Arrivals | None = None

    async def start(self, arrivals: Arrivals) -> None:
        self.arrivals = arrivals
        self._network.transports[self._node] = self

    def set_peers(self, addresses: Mapping[NodeId, str]) -> None:
        self.peers = dict(addresses)

    def send_nowait(self, message: Message) -> None:
        self._carry(message, None)

    def send_snapshot_nowait(self, message: InstallSnapshot, data: bytes) -> None:
        arrived = self._carry(message, data)
        assert self.arrivals is not None
        asyncio.get_running_loop().call_soon(self.arrivals.snapshot_sent, message.target, arrived)

    def _carry(self, message: Message, data: bytes | None) -> bool:
        if message.target not in self.peers:
            return False
        self._network.sent.append(message)
        other = self._network.reach(self._node, message.target)
        if other is None or other.arrivals is None or self._network.drop(message):
            return False
        asyncio.get_running_loop().call_soon(other.arrivals.message, message, data)
        return True

    async def ask(self, target: NodeId, question: bytes) -> bytes:
        other = self._network.reach(self._node, target)
        if other is None or other.arrivals is None:
            raise Unreached(f"node {target} is not reached from {self._node}")
        answer = await other.arrivals.question(self._node, question)
        if self._network.reach(target, self._node) is None:
            raise Unreached(f"the answer of node {target} did not come back")
        return answer

    async def close(self) -> None:
        if self._network.transports.get(self._node) is self:
            del self._network.transports[self._node]
