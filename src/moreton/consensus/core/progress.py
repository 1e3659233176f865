"""What a leader knows of each follower, and what it may send it next.

Source: Ongaro 2014, section 10.2.1 (pipelining); etcd's `raft/tracker` for the three states.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from moreton.consensus.core.messages import NodeId
from moreton.kernel.time import Instant


class ProgressState(StrEnum):
    """How entries go to a follower."""

    PROBE = "probe"  # one message at a time, to find where the logs match
    REPLICATE = "replicate"  # many at once, each taking the one before for received
    SNAPSHOT = "snapshot"  # none: a snapshot is on its way


@dataclass(slots=True)
class Inflights:
    """A window of messages that were sent and not acknowledged: so many, and of so many bytes."""

    messages_max: int
    bytes_max: int
    bytes: int = 0
    _sent: deque[tuple[int, int]] = field(default_factory=deque)

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def full(self) -> bool:
        """Whether nothing more may be sent. One message always may, however large."""
        return len(self._sent) >= self.messages_max or self.bytes >= self.bytes_max

    def add(self, last_index: int, size: int) -> None:
        """Note a message whose last entry is *last_index*; they are added in order."""
        self._sent.append((last_index, size))
        self.bytes += size

    def free_to(self, index: int) -> None:
        """Forget the messages that an acknowledgement of *index* covers."""
        while self._sent and self._sent[0][0] <= index:
            self.bytes -= self._sent.popleft()[1]

    def clear(self) -> None:
        """Forget all."""
        self._sent.clear()
        self.bytes = 0


@dataclass(slots=True)
class Progress:
    """One follower as its leader sees it."""

    next: int  # the next entry to send
    inflights: Inflights
    match: int = 0  # the highest entry known to be the same in both logs
    state: ProgressState = ProgressState.PROBE
    awaited: bool = False  # nothing goes out until it answers: a probe, or the window is full
    pending_snapshot: int = 0
    snapshot_due: Instant | None = None  # when it counts as lost
    recently_active: bool = True
    round: int = 0  # the latest heartbeat that it answered

    @property
    def paused(self) -> bool:
        """Whether it must first answer."""
        return self.awaited or self.state is ProgressState.SNAPSHOT

    @property
    def full(self) -> bool:
        """Whether it is sent entries faster than it acknowledges them."""
        return self.state is ProgressState.REPLICATE and self.inflights.full

    def become_probe(self) -> None:
        """Send one message at a time; after a snapshot, what follows it."""
        after_snapshot = self.pending_snapshot if self.state is ProgressState.SNAPSHOT else 0
        self._enter(ProgressState.PROBE)
        self.next = max(self.match, after_snapshot) + 1

    def become_replicate(self) -> None:
        """Send as fast as the window allows."""
        self._enter(ProgressState.REPLICATE)
        self.next = self.match + 1

    def become_snapshot(self, index: int, due: Instant | None = None) -> None:
        """Wait for the snapshot at *index* to arrive, until *due*."""
        self._enter(ProgressState.SNAPSHOT)
        self.pending_snapshot = index
        self.snapshot_due = due

    def sent(self, last_index: int, count: int, size: int) -> None:
        """Note a message of *count* entries that end at *last_index*."""
        if self.state is ProgressState.REPLICATE:
            if count:
                self.next = last_index + 1
                self.inflights.add(last_index, size)
            self.awaited = self.inflights.full
        elif count:
            self.awaited = True

    def acknowledged(self, index: int) -> bool:
        """Note that the logs match up to *index*; whether that is news."""
        news = index > self.match
        if news:
            self.match = index
            self.awaited = False
        self.next = max(self.next, index + 1)
        return news

    def rejected(self, index: int, hint: int) -> bool:
        """Go back because the logs differ at *index*, to after *hint*; false for an old answer."""
        if self.state is ProgressState.REPLICATE:
            if index <= self.match:
                return False
            self.next = self.match + 1
            return True
        if index != self.next - 1:  # probes go out one at a time
            return False
        self.next = max(min(index, hint + 1), self.match + 1, 1)
        self.awaited = False
        return True

    def _enter(self, state: ProgressState) -> None:
        self.state = state
        self.awaited = False
        self.pending_snapshot = 0
        self.snapshot_due = None
        self.inflights.clear()


def reconcile(
    progress: dict[NodeId, Progress],
    members: Iterable[NodeId],
    *,
    next_index: int,
    messages_max: int,
    bytes_max: int,
) -> dict[NodeId, Progress]:
    """The progress of *members*: as it was, or for a new one from *next_index*, taken for active.

    A new member must have the time to answer before silence counts against it.
    """
    return {
        member: progress.get(member)
        or Progress(next=next_index, inflights=Inflights(messages_max, bytes_max))
        for member in members
    }
