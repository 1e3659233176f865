"""What the host of a node stands on: a disk, a transport and a state machine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from moreton.consensus.core.events import Persist
from moreton.consensus.core.messages import InstallSnapshot, Message, NodeId, SnapshotMeta
from moreton.consensus.core.state import Recovered


class StateMachine(Protocol):
    """What the log is applied to: the same commands, in the same order, on every node.

    It must be deterministic: no clock, no randomness, nothing of this node alone.
    """

    def apply(self, index: int, command: bytes) -> object:
        """Do *command*, of the entry at *index*; what it returns goes to whoever proposed it here.

        Several commands may share an entry. An error that the proposer should see is returned, not
        raised.
        """
        ...

    def freeze(self) -> Callable[[], bytes]:
        """Hold the present state fast, quickly; the result writes it out, in another thread."""
        ...

    def restore(self, snapshot: bytes) -> None:
        """Become what `freeze` held fast, maybe on another node. Raises `ValueError`."""
        ...


class Disk(Protocol):
    """The durable part of one node. Calls block, and come from one thread at a time.

    Only `write_snapshot`, `read_snapshot` and `size_bytes` may come while another thread writes.
    An error of the disk is raised as a `ConsensusError`; what was asked for may then be there or
    not, and the node must stop.
    """

    def load(self) -> tuple[Recovered, bytes | None]:
        """What is there, checked; and the data of its snapshot, if it has one."""
        ...

    def write(self, records: Sequence[Persist]) -> None:
        """Write *records*, and return once they are durable if one of them is to be synced."""
        ...

    def write_snapshot(self, snapshot: SnapshotMeta, data: bytes) -> None:
        """Keep *data* durably, whole or not at all; the one before is dropped when it may be."""
        ...

    def read_snapshot(self) -> tuple[SnapshotMeta, bytes] | None:
        """The newest snapshot that is whole."""
        ...

    def compact(self, index: int) -> None:
        """The entries up to *index* are not needed any more."""
        ...

    def size_bytes(self) -> int:
        """How much room the log and the snapshots take."""
        ...

    def close(self) -> None:
        """Let go of the files."""
        ...


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What a transport calls, in the event loop.

    *message*: one arrived, with the data of its snapshot if it carries one.
    *snapshot_sent*: whether a snapshot reached its target. *unreachable*: messages to a node were
    dropped. *question*: another node asks this one; the answer goes back.
    """

    message: Callable[[Message, bytes | None], None]
    snapshot_sent: Callable[[NodeId, bool], None]
    unreachable: Callable[[NodeId], None]
    question: Callable[[NodeId, bytes], Awaitable[bytes]]


class Transport(Protocol):
    """Carries messages between the nodes of one cluster, authenticated, in bounded queues."""

    async def start(self, arrivals: Arrivals) -> None:
        """Listen and connect."""
        ...

    def set_peers(self, addresses: Mapping[NodeId, str]) -> None:
        """Who belongs to the cluster now, and where: `host:port`. Others are cut off."""
        ...

    def send_nowait(self, message: Message) -> None:
        """Send *message* soon; it is dropped when its target's queue is full or unreachable."""
        ...

    def send_snapshot_nowait(self, message: InstallSnapshot, data: bytes) -> None:
        """Send *message* with *data*, beside the other messages; says `snapshot_sent`."""
        ...

    async def ask(self, target: NodeId, question: bytes) -> bytes:
        """What *target* answers. Raises a `ConsensusError` if it cannot be reached."""
        ...

    async def close(self) -> None:
        """Send what is queued, for a moment, and stop."""
        ...
