"""What a host consists of between its start and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from moreton.consensus.core.events import (
    Compact,
    ConfigurationChanged,
    LeaderChanged,
    Receive,
    Refuse,
    Restore,
    SnapshotReported,
    Unreachable,
)
from moreton.consensus.core.messages import (
    Entry,
    EntryKind,
    Heartbeat,
    InstallSnapshot,
    Message,
    NodeId,
    RequestVote,
)
from moreton.consensus.core.node import RaftNode
from moreton.consensus.core.state import Recovered, Settings
from moreton.consensus.errors import ConsensusError
from moreton.consensus.host.changes import Changes
from moreton.consensus.host.driver import Driver
from moreton.consensus.host.errors import NodeFailed, RejoinedUnderOldId
from moreton.consensus.host.proposals import Proposals
from moreton.consensus.host.reads import Reads
from moreton.consensus.host.replicated.commands import SessionId
from moreton.consensus.host.replicated.state import Replicated
from moreton.consensus.host.settings import HostSettings, HostStatus
from moreton.consensus.host.snapshots import Snapshots
from moreton.consensus.ports import Disk, StateMachine, Transport
from moreton.kernel.rng import Rng
from moreton.kernel.time import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a host was made of."""

    disk: Disk
    transport: Transport
    machine: StateMachine
    addresses: Mapping[NodeId, str]
    settings: Settings
    bounds: HostSettings
    clock: Clock
    rng: Rng
    on_leader: Callable[[int, NodeId | None], None]


class Running:
    """One node at work. It ends by `close`, or by itself when it *failed*."""

    def __init__(
        self, session: SessionId, loaded: tuple[Recovered, bytes | None], parts: Parts
    ) -> None:
        recovered, data = loaded
        self.node, nonce = session
        self.error: ConsensusError | None = None
        self.leader: NodeId | None = None
        self.waiting_for_leader: set[asyncio.Timeout] = set()  # they end when it changes
        self.news = asyncio.Event()  # set when the leader changes, or the node fails
        self._closing = False
        self._silencing: asyncio.Task[None] | None = None
        self._session = session
        self._parts = parts
        self._configuration = recovered.snapshot.configuration
        self._began_empty = not recovered.snapshot.index and not recovered.entries
        self._term = recovered.hard_state.term
        bounds, again_after = parts.bounds, parts.settings.election_timeout
        self.proposals = Proposals(session, settings=bounds, again_after=again_after)
        self.reads = Reads(self.node, nonce, settings=bounds, again_after=again_after)
        known = {n: parts.addresses.get(n, "") for n in self._configuration.members()}
        self.replicated = Replicated(parts.machine, {n: at for n, at in known.items() if at})
        self.driver = Driver(
            RaftNode(self.node, recovered, rng=parts.rng, settings=parts.settings),
            disk=parts.disk,
            settings=parts.settings,
            clock=parts.clock,
            proposals=self.proposals,
            reads=self.reads,
            handlers=self,
        )
        heartbeat = parts.settings.heartbeat_interval
        self.changes = Changes(self.driver, nonce=nonce, again_after=heartbeat)
        self.snapshots = Snapshots(
            parts.disk,
            parts.transport,
            driver=self.driver,
            replicated=self.replicated,
            settings=bounds,
            newest=recovered.snapshot,
            failed=self.failed,
        )
        if data is not None:
            self.snapshots.remember(recovered.snapshot, data)

    def status(self) -> HostStatus:
        """How things stand."""
        members = self.replicated.members
        error = self.error or self.snapshots.error
        return HostStatus(
            raft=self.driver.node.status(),
            addresses=dict(members.addresses),
            next_node=members.highest + 1,
            proposals_waiting=len(self.proposals),
            reads_waiting=len(self.reads),
            writes_waiting=self.driver.writer.waiting,
            snapshot_index=self.snapshots.newest.index,
            disk_bytes=self._parts.disk.size_bytes(),
            error=str(error) if error is not None else None,
        )

    async def close(self, error: ConsensusError) -> None:
        """Write what is queued, let go of everything; what waits, and comes later, gets *error*."""
        if self._closing:
            return
        self._closing = True
        self._stop(error)
        await self.snapshots.close()
        if self._silencing is not None:
            await self._silencing
        else:
            await self._parts.transport.close()
        self.driver.writer.close_nowait()
        await asyncio.to_thread(self.driver.writer.join)
        await asyncio.to_thread(self._parts.disk.close)

    # --- arrivals -----------------------------------------------------------------------------

    def message(self, message: Message, data: bytes | None) -> None:
        """*message* arrived, with the *data* of its snapshot if it carries one."""
        if self.error is not None or message.target != self.node:
            return
        if self._has_forgotten(message):
            self.failed(RejoinedUnderOldId(node=self.node))
        elif isinstance(message, InstallSnapshot):
            self.snapshots.install(message, data or b"")
        elif isinstance(message, RequestVote) and not self._configuration.members():
            return  # it has no past that it could vouch for: see `RejoinedUnderOldId`
        else:
            self.driver.tell(Receive(message))

    def snapshot_sent(self, target: NodeId, arrived: bool) -> None:  # noqa: FBT001 - the port's shape
        """The data of a snapshot reached *target*, or did not."""
        self.driver.tell(SnapshotReported(target, arrived))

    def unreachable(self, target: NodeId) -> None:
        """Messages to *target* were dropped."""
        self.driver.tell(Unreachable(target))

    def _has_forgotten(self, message: Message) -> bool:
        """Whether this node began with nothing, and *message* shows that it had something."""
        if not self._began_empty or self._configuration.members():
            return False
        if isinstance(message, InstallSnapshot):
            # Nobody becomes a voter before it has the log: so whoever joins is not one yet.
            configuration = message.snapshot.configuration
            return self.node in configuration.voters | configuration.outgoing
        # Its leader names no more than it knows this log to have.
        return isinstance(message, Heartbeat) and message.commit > 0

    # --- effects ------------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        """Send *message* now."""
        self._parts.transport.send_nowait(message)

    def send_snapshot(self, message: InstallSnapshot) -> None:
        """Send *message* with the newest snapshot's data."""
        self.snapshots.send(message)

    def apply(self, entry: Entry) -> None:
        """Give commands to the machine and answers to their proposers; learn addresses."""
        if entry.kind is EntryKind.DATA:
            decide = self.proposals.decide
            for number, result in self.replicated.apply(entry, self._session):
                decide(number, result)
        else:
            change = self.replicated.apply_change(entry, self._configuration)
            self._set_peers()
            self.changes.applied(change)
        self.snapshots.count(entry)

    def applied(self) -> None:
        """A snapshot may be due."""
        self.snapshots.take_if_due()

    def restore(self, effect: Restore) -> None:
        """Become the snapshot that arrived."""
        self.snapshots.restore(effect)
        self.proposals.miss(self.replicated.applied(self._session))
        self._set_peers()

    def configuration_changed(self, effect: ConfigurationChanged) -> None:
        """Others belong to the cluster now."""
        self._configuration = effect.configuration
        self._set_peers()
        self.changes.configuration_changed()

    def leader_changed(self, effect: LeaderChanged) -> None:
        """Tell everyone who waits for a leader."""
        self._tell_leader(effect.term, effect.leader)
        self.changes.leader_changed(effect)

    def compact(self, effect: Compact) -> None:
        """Let the disk drop what a snapshot covers."""
        self.driver.writer.after(lambda: self._parts.disk.compact(effect.index))

    def refused(self, effect: Refuse) -> None:
        """A change or a transfer was not done."""
        self.changes.refused(effect)

    def failed(self, error: Exception) -> None:
        """Stop: what cannot be made durable must not be promised."""
        if self.error is not None:
            return
        reason = str(error) or type(error).__name__
        failure = NodeFailed(node=self.node, reason=reason)
        failure.__cause__ = error
        self._stop(failure)
        self._silencing = asyncio.create_task(self._parts.transport.close())

    def _stop(self, error: ConsensusError) -> None:
        if self.error is not None:
            return
        self.error = error
        self.driver.stop()
        self.proposals.fail_all(error)
        self.reads.fail_all(error)
        self.changes.fail_all(error)
        self._tell_leader(self._term, None)

    def _tell_leader(self, term: int, leader: NodeId | None) -> None:
        self._term, self.leader = term, leader
        self.news.set()
        self.news.clear()
        for limit in self.waiting_for_leader:
            if not limit.expired():  # and has not told its task yet
                limit.reschedule(asyncio.get_running_loop().time())
        self._parts.on_leader(term, leader)

    def _set_peers(self) -> None:
        addresses = {**self._parts.addresses, **self.replicated.members.addresses}
        members = self._configuration.members() or list(addresses)
        self._parts.transport.set_peers({n: addresses[n] for n in members if n in addresses})


def check_addresses(node: NodeId, addresses: Mapping[NodeId, str]) -> None:
    """Raise `ValueError` unless *addresses* are possible ones for a cluster of *node*."""
    if node < 1:
        raise ValueError(f"node id {node} is below 1: it could not vote; give 1 or more")
    owners: dict[str, NodeId] = {}
    for one, address in addresses.items():
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal():
            raise ValueError(
                f"address {address!r} of node {one} is not host:port: nobody could reach it; "
                "write one like 10.0.0.1:7400"
            )
        other = owners.setdefault(address, one)
        if other != one:
            raise ValueError(
                f"nodes {other} and {one} have the same address {address}: one would get the "
                "other's messages; give each its own"
            )
