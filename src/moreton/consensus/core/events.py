"""What a node is told, and what it tells its host to do.

The host performs effects in the order given. It may do several `Persist` in one write, and may
delay any `Send`, but must not send before a `Persist` that stands earlier is durable. Once it is,
the host says `Persisted`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from moreton.consensus.core.configuration import ConfigurationChange
from moreton.consensus.core.messages import (
    Configuration,
    Entry,
    HardState,
    Message,
    NodeId,
    SnapshotMeta,
)

# --- events -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Receive:
    """A message arrived; one that carries a snapshot, once its data have arrived too."""

    message: Message


@dataclass(frozen=True, slots=True)
class Propose:
    """A client wants *data* in the log. That it is there shows when it is applied."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ProposeChange:
    """Someone wants another configuration."""

    change: ConfigurationChange


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """A client wants to read what is true now; *context* comes back in `ReadReady`."""

    context: bytes


@dataclass(frozen=True, slots=True)
class TransferLeadership:
    """Someone wants *transferee* to lead."""

    transferee: NodeId


@dataclass(frozen=True, slots=True)
class Campaign:
    """Do not wait for the election timeout."""


@dataclass(frozen=True, slots=True)
class Persisted:
    """The `Persist` of this *number* is durable, and with it all before.

    It may be left unsaid of one without *sync*: nothing waits for that.
    """

    number: int


@dataclass(frozen=True, slots=True)
class Applied:
    """The state machine is at *index*: by `Apply`, or by `Restore`."""

    index: int


@dataclass(frozen=True, slots=True)
class SnapshotTaken:
    """The host holds this *snapshot*, made by `RaftNode.describe_snapshot`, durably."""

    snapshot: SnapshotMeta


@dataclass(frozen=True, slots=True)
class SnapshotReported:
    """The data of a snapshot reached *target*, or will not."""

    target: NodeId
    arrived: bool


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The last message to *target* was lost for certain."""

    target: NodeId


Event: TypeAlias = (
    Receive
    | Propose
    | ProposeChange
    | ReadRequest
    | TransferLeadership
    | Campaign
    | Persisted
    | Applied
    | SnapshotTaken
    | SnapshotReported
    | Unreachable
)

# --- effects ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Persist:
    """Make durable, in this order, what is there of: *snapshot*, *entries*, *hard_state*.

    A *snapshot*, whose data have arrived, replaces the whole log. *entries* replace everything
    from the index of the first. Records become durable in the order of their numbers. Without
    *sync* it is enough that they do so before the next that has it.
    """

    number: int
    hard_state: HardState | None = None
    entries: tuple[Entry, ...] = ()
    snapshot: SnapshotMeta | None = None
    sync: bool = True


@dataclass(frozen=True, slots=True)
class Send:
    """Send *message* to its target; it may be lost, late, doubled or overtaken."""

    message: Message


@dataclass(frozen=True, slots=True)
class LeaderChanged:
    """Since *term* this node follows *leader*, or knows none; it may be itself."""

    term: int
    leader: NodeId | None


@dataclass(frozen=True, slots=True)
class ConfigurationChanged:
    """Since the entry at *index* this is who belongs to the cluster."""

    index: int
    configuration: Configuration


@dataclass(frozen=True, slots=True)
class Restore:
    """Replace the state machine by *snapshot*, whose data the host holds."""

    snapshot: SnapshotMeta


@dataclass(frozen=True, slots=True)
class Apply:
    """Give *entries* to the state machine, then say `Applied`. Every node gets the same ones.

    Only those of kind `DATA` mean anything to it; the others count too.
    """

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class ReadReady:
    """The read with *context* may be answered from the state after *index* or a later one."""

    context: bytes
    index: int


@dataclass(frozen=True, slots=True)
class Compact:
    """The log is not needed up to *index*: the disk may drop that part when it suits."""

    index: int


class Refusal(StrEnum):
    """Why something was not done."""

    NO_LEADER = "no-leader"
    NOT_LEADER = "not-leader"
    TRANSFERRING = "transferring"  # leadership is being handed over
    TOO_MUCH_UNCOMMITTED = "too-much-uncommitted"
    CHANGE_PENDING = "change-pending"  # another change of the configuration is under way
    CHANGE_NOT_POSSIBLE = "change-not-possible"
    TOO_MANY_READS = "too-many-reads"
    LEADERSHIP_LOST = "leadership-lost"  # the read may be tried again
    NOT_A_VOTER = "not-a-voter"
    LEASE_HELD = "lease-held"  # a leader answers reads alone and relies on nobody campaigning


@dataclass(frozen=True, slots=True)
class Refuse:
    """*event* was not done, and has had no effect. *leader* may know better."""

    event: Propose | ProposeChange | ReadRequest | TransferLeadership | Campaign
    refusal: Refusal
    leader: NodeId | None = None
    detail: str = ""


Effect: TypeAlias = (
    Persist
    | Send
    | LeaderChanged
    | ConfigurationChanged
    | Restore
    | Apply
    | ReadReady
    | Compact
    | Refuse
)
