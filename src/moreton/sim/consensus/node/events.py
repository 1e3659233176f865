"""What hosts in the simulator are told and tell, beside what their cores are and do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from moreton.consensus.core.events import Effect
from moreton.consensus.core.messages import Message
from moreton.consensus.core.node import RaftNode
from moreton.sim.consensus.node.registers import Contents


@dataclass(frozen=True, slots=True)
class Carried:
    """What travels between hosts: a message, and the data of its snapshot if it has one."""

    message: Message
    contents: Contents | None = None


@dataclass(frozen=True, slots=True)
class SnapshotArrived:
    """What travels back: a snapshot came through."""


@dataclass(frozen=True, slots=True)
class DiskTurns:
    """From now on the disk is *bad*: the next write will fail; or it is good again."""

    bad: bool


@dataclass(frozen=True, slots=True)
class Halted:
    """The effect of a write that failed: the process must end."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The effect that a client gets its answer; or, *refused*, that its request does nothing."""

    client: int
    serial: int
    value: Any = None
    refused: bool = False


class Watcher(Protocol):
    """Sees everything that a host does."""

    def step(self, core: RaftNode, effects: Sequence[Effect]) -> None:
        """*core* took a step, and *effects* came of it."""
        ...

    def sent(self, message: Message) -> None:
        """*message* leaves its node."""
        ...

    def applied(self, node: int, index: int, digest: int) -> None:
        """The state machine of *node* is at *index*; *digest* is of all that led there."""
        ...
