"""What a node is at one moment, and how it changes its role.

The other parts of the core share one `State`; each changes only what its own concern is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from moreton.consensus.core.configuration import apply_change, decode_change
from moreton.consensus.core.events import ConfigurationChanged, Effect, LeaderChanged
from moreton.consensus.core.log import Log, entry_bytes
from moreton.consensus.core.messages import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Message,
    NodeId,
    SnapshotMeta,
)
from moreton.consensus.core.progress import Progress, reconcile
from moreton.kernel.rng import Rng
from moreton.kernel.time import Instant

_MIB = 1024 * 1024
# With less nothing would ever be sent, applied or answered.
_LEAST = {
    "append_bytes_max": 1,
    "inflight_messages_max": 1,
    "inflight_bytes_max": 1,
    "uncommitted_bytes_max": 1,
    "apply_bytes_max": 1,
    "reads_max": 1,
    "snapshot_timeout": timedelta(microseconds=1),
    "kept_entries": 0,
}


class Role(StrEnum):
    """What a node is in the present term."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"  # asks whether it would be elected, in the old term still
    CANDIDATE = "candidate"
    LEADER = "leader"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a node behaves; all nodes of a cluster should have the same."""

    # A node campaigns after one to two of these without a leader. etcd's defaults: 1 s, 100 ms.
    election_timeout: timedelta = timedelta(seconds=1)
    heartbeat_interval: timedelta = timedelta(milliseconds=100)
    pre_vote: bool = True
    check_quorum: bool = True
    # Answer reads without asking a quorum while a lease lasts: needs clocks that run alike.
    lease_reads: bool = False
    clock_drift_max: float = 0.1  # the share by which any clock may run fast or slow
    forward: bool = True  # followers pass proposals and reads on to the leader
    append_bytes_max: int = _MIB  # of one message; etcd has the same
    inflight_messages_max: int = 256
    inflight_bytes_max: int = 16 * _MIB  # of one follower
    uncommitted_bytes_max: int = 64 * _MIB
    apply_bytes_max: int = 4 * _MIB  # handed out and not applied yet
    reads_max: int = 10_000  # waiting at once
    # A snapshot that nobody reported on in this time counts as lost.
    snapshot_timeout: timedelta = timedelta(minutes=1)
    # Before a snapshot, for followers that lag a little: not more than either of these.
    kept_entries: int = 5_000
    kept_bytes_max: int = 16 * _MIB

    def __post_init__(self) -> None:
        if not timedelta(0) < self.heartbeat_interval < self.election_timeout:
            raise ValueError(
                f"heartbeat interval {self.heartbeat_interval} does not lie between 0 and the "
                f"election timeout {self.election_timeout}: leaders would be deposed at once; "
                "take a tenth of it"
            )
        if not 0 <= self.clock_drift_max < 1:
            raise ValueError(
                f"clock drift {self.clock_drift_max} is not a share in [0, 1): no lease could be "
                "computed; give one like 0.1"
            )
        if self.lease_reads and not self.check_quorum:
            raise ValueError(
                "lease reads without check quorum: voters would not keep the lease, and reads "
                "could be stale; turn check quorum on"
            )
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(
                    f"{name} is {getattr(self, name)}: the node would stand still; "
                    f"give at least {least}"
                )


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the disk held when the node started; empty for one that joins a running cluster.

    *applied* is how far the state machine has got that the host restarts with: 0 for one in
    memory, which is given the snapshot and every entry after it again.
    """

    hard_state: HardState = field(default_factory=HardState)
    snapshot: SnapshotMeta = field(default_factory=SnapshotMeta)
    entries: tuple[Entry, ...] = ()
    applied: int = 0

    @classmethod
    def first(cls, configuration: Configuration) -> Recovered:
        """What each founding member of a new cluster starts with, and has on its disk.

        It is a snapshot of the empty state at index 1: only so will those who join later, with
        nothing at all, be sent the founding configuration too.
        """
        snapshot = SnapshotMeta(index=1, term=1, configuration=configuration)
        return cls(HardState(term=1, commit=1), snapshot)


@dataclass(frozen=True, slots=True)
class Status:
    """How a node sees itself and its cluster at one moment."""

    node: NodeId
    term: int
    role: Role
    leader: NodeId | None
    last_index: int
    committed: int
    applied: int
    configuration: Configuration
    matches: dict[NodeId, int]  # by member, for a leader: how far its log is known to match


class State:
    """The variables of figure 3.1, the timers, and what waits to be sent."""

    def __init__(self, node: NodeId, recovered: Recovered, *, settings: Settings, rng: Rng) -> None:
        if node < 1:
            raise ValueError(f"{node} names no node: nothing can be sent to it; give 1 or more")
        self.node = node
        self.settings = settings
        self.rng = rng
        self.term = recovered.hard_state.term
        self.vote = recovered.hard_state.vote
        self.role = Role.FOLLOWER
        self.leader: NodeId | None = None
        self.log = Log(recovered.snapshot, recovered.entries)
        self.configuration = recovered.snapshot.configuration
        self.configurations = [(recovered.snapshot.index, self.configuration)]
        self.progress: dict[NodeId, Progress] = {}
        self.votes: dict[NodeId, bool] = {}
        self.outbox: list[Message] = []
        self.own: list[Message] = []  # answers to itself: they count once they are durable
        self.effects: list[Effect] = []
        self._told_leader: tuple[int, NodeId | None] = (self.term, None)
        self.received_snapshot: SnapshotMeta | None = None  # to be persisted
        # Leaders only.
        self.pending_change_index = 0  # no change is proposed until this is committed
        self.uncommitted_bytes = 0
        self.transferee: NodeId | None = None
        # Timers.
        self.now = Instant(0)
        self.election_due = Instant(0)
        self.heartbeat_due = Instant(0)
        self.quorum_check_due = Instant(0)
        self.transfer_due = Instant(0)
        self.leader_protected_until = Instant(0)
        self._recover(recovered)

    def _recover(self, recovered: Recovered) -> None:
        # The commit index is not always synced, and may be torn off from entries that are; what
        # was applied is committed all the same. So is every change of the configuration but the
        # last, else that would not have been proposed: to count votes by one still older would be
        # to count without the others.
        kept = self.log.entries(self.log.first_index)
        changes = [entry.index for entry in kept if entry.kind is EntryKind.CONFIGURATION]
        committed = max(recovered.hard_state.commit, recovered.applied, *changes[-2:-1])
        self.commit_to(committed)
        self.effects.clear()
        self.reconcile_progress(next_index=self.log.last_index + 1)
        self.log.applied = recovered.applied
        self.log.handed_out = max(recovered.applied, self.log.snapshot.index)

    @property
    def hard_state(self) -> HardState:
        """What must be on disk before anyone is answered."""
        return HardState(self.term, self.vote, self.log.committed)

    @property
    def is_leader(self) -> bool:
        """Whether it leads the present term."""
        return self.role is Role.LEADER

    @property
    def is_voter(self) -> bool:
        """Whether it may lead: learners and strangers may not."""
        return self.node in self.configuration.voters | self.configuration.outgoing

    def peers(self) -> list[NodeId]:
        """Everyone else who gets the log."""
        return [node for node in self.progress if node != self.node]

    def voter_peers(self) -> list[NodeId]:
        """Everyone else who is asked for votes."""
        return sorted((self.configuration.voters | self.configuration.outgoing) - {self.node})

    def send(self, message: Message) -> None:
        """Send *message*; to itself, once what is told now is durable."""
        (self.own if message.target == self.node else self.outbox).append(message)

    def become_follower(self, term: int, leader: NodeId | None) -> None:
        """Follow *leader*, if it is known, in *term*."""
        self._reset(term)
        self.role = Role.FOLLOWER
        self.leader = leader

    def become_pre_candidate(self) -> None:
        """Ask first: neither term nor vote change."""
        assert not self.is_leader, "a leader does not ask to be elected"
        self.role = Role.PRE_CANDIDATE
        self.leader = None
        self.votes = {}
        self.draw_election_timeout()

    def become_candidate(self) -> None:
        """Begin a new term with its own vote."""
        assert not self.is_leader, "a leader does not ask to be elected"
        self._reset(self.term + 1)
        self.role = Role.CANDIDATE
        self.vote = self.node

    def become_leader(self) -> None:
        """Lead: the present term was won."""
        assert self.role is Role.CANDIDATE, f"a {self.role} cannot become leader"
        self._reset(self.term)
        self.role = Role.LEADER
        self.leader = self.node
        self.progress = {}
        self.reconcile_progress(next_index=self.log.last_index + 1)
        for node, progress in self.progress.items():
            # The votes were before: who has not answered in this role does not count for it.
            progress.recently_active = node == self.node
        # There may be a change among the entries of earlier leaders: wait for all of them.
        self.pending_change_index = self.log.last_index

    def commit_to(self, index: int) -> None:
        """Everything up to *index* is committed. A configuration is in force from its commit on."""
        if index <= self.log.committed:
            return
        assert index <= self.log.last_index, (
            f"commit index {index} is beyond the log, which ends at {self.log.last_index}: "
            "the log was lost or cut"
        )
        start, self.log.committed = self.log.committed + 1, index
        for entry in self.log.entries(start, index + 1):
            if self.uncommitted_bytes:
                self.uncommitted_bytes = max(0, self.uncommitted_bytes - entry_bytes(entry))
            if entry.kind is EntryKind.CONFIGURATION:
                changed = apply_change(self.configuration, decode_change(entry.data))
                self.switch_to(changed, entry.index)

    def switch_to(self, configuration: Configuration, index: int) -> None:
        """*configuration* is in force since *index*."""
        self.configuration = configuration
        self.configurations.append((index, configuration))
        self.effects.append(ConfigurationChanged(index, configuration))
        self.reconcile_progress(next_index=self.log.last_index)

    def reconcile_progress(self, *, next_index: int) -> None:
        """Follow the members, and nobody else."""
        self.progress = reconcile(
            self.progress,
            self.configuration.members(),
            next_index=max(next_index, 1),
            messages_max=self.settings.inflight_messages_max,
            bytes_max=self.settings.inflight_bytes_max,
        )

    def describe_snapshot(self, index: int) -> SnapshotMeta:
        """The snapshot at *index*, which is committed and still in the log."""
        term = self.log.term(index)
        inside = [one for since, one in self.configurations if since <= index]
        if term is None or index > self.log.committed or not inside:
            raise ValueError(
                f"no snapshot can be described at {index}: the log holds "
                f"{self.log.base_index} to {self.log.committed}; take one of what is applied"
            )
        return SnapshotMeta(index, term, inside[-1])

    def note_snapshot(self, snapshot: SnapshotMeta) -> bool:
        """The host holds *snapshot*; what lies well before it may go. False for an old one."""
        if snapshot.index <= self.log.snapshot.index:
            return False
        self.log.snapshot = snapshot
        settings = self.settings
        kept = self.log.count_within(snapshot.index, settings.kept_entries, settings.kept_bytes_max)
        self.log.compact(snapshot.index - kept)
        inside = [one for one in self.configurations if one[0] <= snapshot.index]
        self.configurations = [*inside[-1:], *self.configurations[len(inside) :]]
        return True

    def status(self) -> Status:
        """How things stand."""
        progress = self.progress if self.is_leader else {}
        return Status(
            node=self.node,
            term=self.term,
            role=self.role,
            leader=self.leader,
            last_index=self.log.last_index,
            committed=self.log.committed,
            applied=self.log.applied,
            configuration=self.configuration,
            matches={node: one.match for node, one in progress.items()},
        )

    def draw_election_timeout(self) -> None:
        """Wait between one and two election timeouts, so that few campaign at the same time."""
        delay = self.settings.election_timeout * (1 + self.rng.random())
        self.election_due = self.now + delay

    def take_leader_change(self) -> list[Effect]:
        """Who leads, if that is another than was told before."""
        told_term, told_leader = self._told_leader
        if self.leader == told_leader and (told_leader is None or told_term == self.term):
            return []
        self._told_leader = (self.term, self.leader)
        return [LeaderChanged(self.term, self.leader)]

    def abort_transfer(self) -> None:
        """Take proposals again."""
        self.transferee = None

    def _reset(self, term: int) -> None:
        if term != self.term:
            self.term = term
            self.vote = None
        self.leader = None
        self.votes = {}
        self.transferee = None
        self.uncommitted_bytes = 0
        self.draw_election_timeout()
