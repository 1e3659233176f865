"""One node as etcd's harness drives it: what follows from events waits until it is processed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from contract.etcd_raft.facts import Facts
from contract.etcd_raft.words import (
    ROLES,
    configuration_words,
    entry_words,
    hard_state_words,
    message_words,
    snapshot_words,
)
from moreton.consensus.core.events import (
    Applied,
    Apply,
    Effect,
    Event,
    Persist,
    Persisted,
    Refuse,
    Restore,
    Send,
    SnapshotTaken,
)
from moreton.consensus.core.messages import Entry, HardState, Message, NodeId, SnapshotMeta
from moreton.consensus.core.node import RaftNode
from moreton.consensus.core.state import Recovered, Settings, State
from moreton.kernel.rng import seeded_rng
from moreton.kernel.time import Instant

# etcd's harness counts in ticks: a heartbeat is due with each, an election after three.
TICK = timedelta(seconds=1)
ELECTION_TICKS = 3


# What etcd's harness sets: neither pre-vote nor check quorum, and no limit that matters.
SETTINGS = Settings(
    election_timeout=ELECTION_TICKS * TICK,
    heartbeat_interval=TICK,
    pre_vote=False,
    check_quorum=False,
    clock_drift_max=0,
    inflight_messages_max=2**31,
    inflight_bytes_max=2**63,
    kept_entries=2**31,
)


@dataclass
class Ready:
    """What etcd calls so: everything that follows from the events since the last."""

    soft: str = ""
    hard: HardState | None = None
    entries: list[Entry] = field(default_factory=list)
    snapshot: SnapshotMeta | None = None
    committed: list[Entry] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    must_sync: bool = False
    writes: list[int] = field(default_factory=list)

    def lines(self, *, newer: bool = False) -> list[str]:
        """As etcd prints it."""
        lines = [f"Ready MustSync={str(self.must_sync).lower()}:"]
        lines += [self.soft] if self.soft else []
        lines += [f"HardState {hard_state_words(self.hard)}"] if self.hard else []
        lines += ["Entries:", *map(entry_words, self.entries)] if self.entries else []
        lines += [f"Snapshot {snapshot_words(self.snapshot)}"] if self.snapshot else []
        if self.committed:
            lines += ["CommittedEntries:", *map(entry_words, self.committed)]
        if self.messages:
            words = [message_words(message, newer=newer) for message in self.messages]
            lines += ["Messages:", *"\n".join(words).split("\n")]
        return lines


class Peer:
    """A node whose writes are durable once they are processed; or *at_once*.

    In etcd 3.4 a leader counts its own log and vote at once, in newer versions as we do.
    """

    def __init__(
        self,
        node: NodeId,
        recovered: Recovered,
        *,
        settings: Settings = SETTINGS,
        at_once: bool = True,
    ) -> None:
        self.id = node
        self.node = RaftNode(node, recovered, rng=seeded_rng(node), settings=settings)
        self.at_once = at_once
        self.now = Instant(0)
        self.pending = Ready()
        self.changed = False
        self.refused: list[Refuse] = []
        self._note(self.node.wake(self.now))
        self.facts = Facts(configuration=configuration_words(self.state.configuration))
        self._soft = self._soft_words()

    @property
    def state(self) -> State:
        """The node's inside."""
        return self.node._state

    @property
    def has_ready(self) -> bool:
        """Whether there is something to process."""
        return self.changed or self._soft != self._soft_words()

    def tell(self, event: Event) -> None:
        """What follows waits."""
        self._note(self.node.handle(event, self.now))

    def tick(self, count: int = 1) -> None:
        """Let the time of so many heartbeats pass."""
        for _ in range(count):
            self.now += TICK
            self._note(self.node.wake(self.now))

    def process(self) -> Ready:
        """What has followed; it is done now, which is told to the node."""
        ready, self.pending, self.changed = self.pending, Ready(), False
        if self._soft != self._soft_words():
            self._soft = ready.soft = self._soft_words()
        self._learn(ready)
        for number in ready.writes:
            self.tell(Persisted(number))
        if ready.snapshot is not None:
            self.tell(Applied(ready.snapshot.index))
        if ready.committed:
            index = ready.committed[-1].index
            self.tell(Applied(index))
            # In etcd's harness a snapshot of what is applied is always at hand.
            self.tell(SnapshotTaken(self.node.describe_snapshot(index)))
        return ready

    def _learn(self, ready: Ready) -> None:
        facts = self.facts
        facts.soft = ready.soft or facts.soft
        facts.hard = hard_state_words(ready.hard) if ready.hard else facts.hard
        if ready.snapshot is not None:
            facts.log.clear()
        for entry in ready.entries:
            facts.append(entry_words(entry))
        if ready.committed:
            facts.applied = ready.committed[-1].index
        facts.configuration = configuration_words(self.state.configuration)

    def _note(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            self._note_one(effect)
        for effect in effects:
            if isinstance(effect, Persist) and self.at_once:
                self.tell(Persisted(effect.number))

    def _note_one(self, effect: Effect) -> None:
        ready = self.pending
        match effect:
            case Send(message):
                ready.messages.append(message)
            case Persist():
                self._note_write(effect)
            case Apply(entries):
                ready.committed += entries
            case Restore(snapshot):
                ready.snapshot = snapshot
            case Refuse():
                self.refused.append(effect)
                return
            case _:
                return
        self.changed = True

    def _note_write(self, persist: Persist) -> None:
        ready = self.pending
        ready.must_sync |= persist.sync
        if not self.at_once:
            ready.writes.append(persist.number)
        if persist.hard_state is not None:
            ready.hard = persist.hard_state
        if persist.entries:
            first = persist.entries[0].index
            ready.entries = [entry for entry in ready.entries if entry.index < first]
            ready.entries += persist.entries

    def _soft_words(self) -> str:
        status = self.node.status()
        return f"Lead:{status.leader or 0} State:{ROLES[status.role]}"
