"""What Raft keeps and what its nodes say to each other.

`Entry`, `HardState` and `SnapshotMeta` are what a disk must hold; the messages are the paper's
remote procedure calls, each way one message. All are values: a codec may take their fields as
they are.

Source: Ongaro, "Consensus: Bridging Theory and Practice", 2014, figure 3.1 and chapters 4, 6, 9.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

# A node of the cluster: 1 or more, never given to another node again.
NodeId: TypeAlias = int


class EntryKind(IntEnum):
    """What the data of an entry are; the numbers are for disks and wires and never change."""

    EMPTY = 0  # what a new leader appends so that it may commit what came before it
    DATA = 1  # for the state machine
    CONFIGURATION = 2  # a `ConfigurationChange`, encoded by `encode_change`


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the log. Two entries with the same index and term are the same entry."""

    term: int
    index: int
    kind: EntryKind = EntryKind.DATA
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class HardState:
    """What a node must remember through a crash beside its log; *vote* belongs to *term*.

    *commit* may lag behind what is committed: it saves work after a restart, not safety.
    """

    term: int = 0
    vote: NodeId | None = None
    commit: int = 0


@dataclass(frozen=True, slots=True)
class Configuration:
    """Who belongs to the cluster.

    While *outgoing* is not empty the configuration is joint: elections and commitment need a
    majority of *voters* and one of *outgoing*. *learners_next* are outgoing voters that become
    learners when the joint configuration is left, on its own accord if *auto_leave*.
    """

    voters: frozenset[NodeId] = frozenset()
    outgoing: frozenset[NodeId] = frozenset()
    learners: frozenset[NodeId] = frozenset()
    learners_next: frozenset[NodeId] = frozenset()
    auto_leave: bool = False

    @property
    def is_joint(self) -> bool:
        """Whether two majorities are needed."""
        return bool(self.outgoing)

    def members(self) -> list[NodeId]:
        """Everyone who gets the log, in ascending order."""
        return sorted(self.voters | self.outgoing | self.learners)


@dataclass(frozen=True, slots=True)
class SnapshotMeta:
    """A snapshot: the state after *index*, an entry of *term*, and the configuration there.

    Its data never pass through the core: a host sends and receives them beside the message.
    """

    index: int = 0
    term: int = 0
    configuration: Configuration = field(default_factory=Configuration)


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressed:
    """What every message says: from whom, to whom, and the term of the sender."""

    source: NodeId
    target: NodeId
    term: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestVote(Addressed):
    """A candidate asks for a vote; *last_index* and *last_term* are of its last entry.

    With *pre* it only asks whether it would get one: *term* is the one it would campaign in.
    With *transfer* the leader itself asked for this election, and voters need not protect it.

    *commit* and *commit_term* are of the last entry that the sender knows to be committed.
    """

    last_index: int
    last_term: int
    pre: bool = False
    transfer: bool = False
    commit: int = 0
    commit_term: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestVoteResponse(Addressed):
    """A vote, or its refusal. A granted pre-vote repeats the term it was asked for.

    *commit* and *commit_term* are of the last entry that the sender knows to be committed.
    """

    granted: bool
    pre: bool = False
    commit: int = 0
    commit_term: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendEntries(Addressed):
    """Entries that follow the one at *prev_index*, and how far the leader has committed."""

    prev_index: int
    prev_term: int
    entries: tuple[Entry, ...] = ()
    commit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendEntriesResponse(Addressed):
    """The log matches up to *index*; or, with *rejected*, it does not at *index*.

    A rejection's *hint_index* and *hint_term* are of the last entry that may match instead.
    """

    index: int
    rejected: bool = False
    hint_index: int = 0
    hint_term: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(Addressed):
    """The leader is there; *commit* is never more than the target is known to have."""

    commit: int
    round: int  # counts broadcasts of one term; what confirms reads


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatResponse(Addressed):
    """The sender follows the leader, as of *round*."""

    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallSnapshot(Addressed):
    """The target lacks entries that the leader no longer has: it shall take *snapshot* instead.

    It is received once the snapshot's data have arrived too.
    """

    snapshot: SnapshotMeta


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutNow(Addressed):
    """The leader hands over: the target shall campaign at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardProposal(Addressed):
    """A follower passes proposals on to its leader; *entries* have no term and index yet."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardRead(Addressed):
    """A follower asks its leader for the index that a read with *context* must wait for."""

    context: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardReadResponse(Addressed):
    """A read with *context* may be answered once *index* is applied."""

    context: bytes
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardTransfer(Addressed):
    """A follower passes on the wish that *transferee* become leader."""

    transferee: NodeId


Message: TypeAlias = (
    RequestVote
    | RequestVoteResponse
    | AppendEntries
    | AppendEntriesResponse
    | Heartbeat
    | HeartbeatResponse
    | InstallSnapshot
    | TimeoutNow
    | ForwardProposal
    | ForwardRead
    | ForwardReadResponse
    | ForwardTransfer
)
