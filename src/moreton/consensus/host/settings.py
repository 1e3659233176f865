"""How a host behaves beyond Raft itself, and how it says that it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from moreton.consensus.core.messages import NodeId
from moreton.consensus.core.state import Status

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class HostSettings:
    """The bounds of one host; nodes of one cluster may differ in them.

    *timeout*: how long a call waits for a leader and an answer, unless it says otherwise.
    *proposals_max*, *reads_max*: as many wait at once; more are refused as `Overloaded`.
    *command_bytes_max*: of one command. *batch_bytes_max*, *batch_commands_max*: of those that
    share an entry.
    *batches_max*: entries under way at once; what comes meanwhile shares the next.
    *snapshot_entries*, *snapshot_bytes*: a snapshot is taken when so much was applied since the
    last.
    """

    timeout: timedelta = timedelta(seconds=10)
    proposals_max: int = 10_000
    reads_max: int = 10_000
    command_bytes_max: int = 8 * _MIB
    batch_bytes_max: int = 512 * 1024
    batch_commands_max: int = 512
    batches_max: int = 4
    snapshot_entries: int = 20_000
    snapshot_bytes: int = 64 * _MIB

    def __post_init__(self) -> None:
        if self.timeout <= timedelta(0):
            raise ValueError(
                f"timeout {self.timeout} is not above 0: every call would fail; give seconds"
            )
        for name in ("proposals_max", "reads_max", "command_bytes_max", "batch_bytes_max"):
            self._check_positive(name)
        for name in ("batch_commands_max", "batches_max", "snapshot_entries", "snapshot_bytes"):
            self._check_positive(name)

    def _check_positive(self, name: str) -> None:
        if getattr(self, name) < 1:
            raise ValueError(
                f"{name} is {getattr(self, name)}: nothing could be done; give at least 1"
            )


@dataclass(frozen=True, slots=True)
class HostStatus:
    """How a node and its host stand at one moment.

    *next_node* is the lowest id that nobody ever had: the one to give to whoever joins.
    *error* is why the node stopped, if it did, or why the last snapshot could not be taken.
    """

    raft: Status
    addresses: Mapping[NodeId, str]
    next_node: NodeId
    proposals_waiting: int
    reads_waiting: int
    writes_waiting: int
    snapshot_index: int
    disk_bytes: int
    error: str | None
