"""Replication: how entries get from the leader's log into everyone's, and are committed.

Source: Ongaro 2014, sections 3.5 (replication), 3.6.2 (only entries of the present term are
committed by counting), 5.3 (snapshots), 10.2.1 (pipelining).
"""

from __future__ import annotations

from moreton.consensus.core.events import Restore, SnapshotReported
from moreton.consensus.core.log import entry_bytes
from moreton.consensus.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    NodeId,
    SnapshotMeta,
)
from moreton.consensus.core.progress import Progress, ProgressState
from moreton.consensus.core.quorum import committed_index
from moreton.consensus.core.state import State


class Replication:
    """The leader's part. What it wants to send goes out once a step is over, in few messages."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._wanted: dict[NodeId, bool] = {}  # to whom, and whether even without entries

    def append(self, entries: tuple[Entry, ...]) -> None:
        """Add *entries* to the log at the present term, and send them to everyone."""
        state = self._state
        index = state.log.last_index
        numbered = [
            Entry(state.term, index + position, entry.kind, entry.data)
            for position, entry in enumerate(entries, 1)
        ]
        state.log.append(numbered)
        state.uncommitted_bytes += sum(map(entry_bytes, numbered))
        # Its own log counts like any other: once it is durable.
        state.send(
            AppendEntriesResponse(
                source=state.node,
                target=state.node,
                term=state.term,
                index=state.log.last_index,
            )
        )
        self.want_all(even_empty=True)

    def want(self, node: NodeId, *, even_empty: bool) -> None:
        """Send *node* what it lacks."""
        self._wanted[node] = self._wanted.get(node, False) or even_empty

    def want_all(self, *, even_empty: bool) -> None:
        """Send everyone what they lack."""
        for peer in self._state.peers():
            self.want(peer, even_empty=even_empty)

    def flush(self) -> None:
        """Send what is wanted, as far as the windows allow."""
        if not self._wanted:
            return
        wanted, self._wanted = self._wanted, {}
        if not self._state.is_leader:
            return
        for node in sorted(wanted.keys() & self._state.progress.keys()):
            if self._send_append(node, even_empty=wanted[node]):
                while self._send_append(node, even_empty=False):
                    pass

    def receive_response(self, message: AppendEntriesResponse) -> None:
        """A follower, or the own disk, has entries now, or lacks some."""
        progress = self._state.progress.get(message.source)
        if progress is None:
            return
        progress.recently_active = True
        if message.rejected:
            self._go_back(progress, message)
        else:
            self._go_on(progress, message)

    def receive_heartbeat_response(self, message: HeartbeatResponse) -> None:
        """A follower is there; if it lacks entries, the last that were sent may be lost.

        Then a message, without entries if the window is full, finds out what it has.
        """
        progress = self._state.progress[message.source]
        progress.recently_active = True
        progress.awaited = False
        probing = progress.state is ProgressState.PROBE
        if probing or progress.match < self._state.log.last_index:
            self.want(message.source, even_empty=True)

    def report_snapshot(self, event: SnapshotReported) -> None:
        """The data of a snapshot arrived, or did not: go on behind it, or begin anew."""
        progress = self._state.progress.get(event.target)
        if progress is None or progress.state is not ProgressState.SNAPSHOT:
            return
        if not event.arrived:
            progress.pending_snapshot = 0
        progress.become_probe()
        # Wait for the follower's own answer, or for a heartbeat's: it may still be busy with it.
        progress.awaited = True

    def check_snapshots(self) -> None:
        """Give up on snapshots that nobody reported on in time."""
        for node, progress in self._state.progress.items():
            due = progress.snapshot_due
            if due is not None and self._state.now >= due:
                self.report_snapshot(SnapshotReported(node, arrived=False))

    def report_unreachable(self, node: NodeId) -> None:
        """A message was lost: what was sent after it would be in vain."""
        progress = self._state.progress.get(node)
        if progress is not None and progress.state is ProgressState.REPLICATE:
            progress.become_probe()

    def maybe_commit(self) -> None:
        """Commit what a quorum has. Earlier terms' entries commit only with one of this term."""
        state = self._state
        before = state.log.committed
        while True:
            acked = {node: progress.match for node, progress in state.progress.items()}
            index = committed_index(state.configuration, acked) or 0
            if index <= state.log.committed or not state.log.matches(index, state.term):
                break
            members = state.progress
            state.commit_to(index)  # may change the configuration: look again
            for node in sorted(members.keys() - state.progress.keys()):
                self._dismiss(node, members[node])
        if state.log.committed > before:
            self.want_all(even_empty=True)

    def _dismiss(self, node: NodeId, progress: Progress) -> None:
        """Tell *node* that its removal is committed, once: or it would campaign for ever."""
        log = self._state.log
        previous = progress.next - 1
        term = log.term(previous)
        if node != self._state.node and term is not None:
            self._send_entries(node, previous, term, ())

    def _go_back(self, progress: Progress, message: AppendEntriesResponse) -> None:
        hint = message.hint_index
        if message.hint_term > 0:
            # What the leader has of a later term up to there cannot match: skip it all at once.
            hint = self._state.log.last_possible_match(hint, message.hint_term)
        if progress.rejected(message.index, hint):
            if progress.state is ProgressState.REPLICATE:
                progress.become_probe()
            self.want(message.source, even_empty=True)

    def _go_on(self, progress: Progress, message: AppendEntriesResponse) -> None:
        was_paused = progress.paused
        probing = progress.state is ProgressState.PROBE
        news = progress.acknowledged(message.index)
        if not news and not (probing and progress.match == message.index):
            return
        if probing:
            progress.become_replicate()
        elif progress.state is ProgressState.REPLICATE:
            progress.inflights.free_to(message.index)
        elif progress.match >= min(progress.pending_snapshot, self._state.log.base_index):
            # It has caught up, by the snapshot or without it; maybe it needs a newer one by now.
            progress.become_probe()
            progress.become_replicate()
        self.maybe_commit()
        if message.source != self._state.node:
            self.want(message.source, even_empty=was_paused)

    def _send_append(self, node: NodeId, *, even_empty: bool) -> bool:
        state = self._state
        progress = state.progress[node]
        if progress.paused:
            return False
        previous = progress.next - 1
        term = state.log.term(previous)
        if term is None:
            return self._send_snapshot(node, progress)
        stop = progress.next if progress.full else state.log.last_index + 1
        entries = state.log.entries_within(progress.next, stop, state.settings.append_bytes_max)
        if not entries and not even_empty:
            return False
        self._send_entries(node, previous, term, entries)
        progress.sent(previous + len(entries), len(entries), sum(map(entry_bytes, entries)))
        return True

    def _send_entries(
        self, node: NodeId, previous: int, term: int, entries: tuple[Entry, ...]
    ) -> None:
        state = self._state
        state.send(
            AppendEntries(
                source=state.node,
                target=node,
                term=state.term,
                prev_index=previous,
                prev_term=term,
                entries=entries,
                commit=state.log.committed,
            )
        )

    def _send_snapshot(self, node: NodeId, progress: Progress) -> bool:
        state = self._state
        if not progress.recently_active:
            return False  # it would be made and sent in vain
        snapshot = state.log.snapshot
        progress.become_snapshot(snapshot.index, state.now + state.settings.snapshot_timeout)
        state.send(
            InstallSnapshot(source=state.node, target=node, term=state.term, snapshot=snapshot)
        )
        return True


class Following:
    """The follower's part. Every message it gets comes from the leader of the present term."""

    def __init__(self, state: State) -> None:
        self._state = state

    def receive_append(self, message: AppendEntries) -> None:
        """Take the entries if the log has the one before them; else say where it may match."""
        state = self._state
        log = state.log
        if message.prev_index < log.committed:
            # What is committed matches for certain, and may be compacted: an old message.
            self._acknowledge(message.source, log.committed)
        elif log.matches(message.prev_index, message.prev_term):
            log.merge(message.entries)
            last = message.prev_index + len(message.entries)
            # Beyond *last* the log may still differ from the leader's.
            state.commit_to(min(message.commit, last))
            self._acknowledge(message.source, last)
        else:
            hint = log.last_possible_match(message.prev_index, message.prev_term)
            state.send(
                AppendEntriesResponse(
                    source=state.node,
                    target=message.source,
                    term=state.term,
                    index=message.prev_index,
                    rejected=True,
                    hint_index=hint,
                    hint_term=log.term(hint) or 0,
                )
            )

    def receive_heartbeat(self, message: Heartbeat) -> None:
        """Say that it follows. The leader names no more than it knows this log to have."""
        state = self._state
        state.commit_to(message.commit)
        state.send(
            HeartbeatResponse(
                source=state.node, target=message.source, term=state.term, round=message.round
            )
        )

    def receive_snapshot(self, message: InstallSnapshot) -> None:
        """Take the snapshot, unless the log gets there anyway."""
        state = self._state
        snapshot = message.snapshot
        if snapshot.index <= state.log.committed:
            pass
        elif state.log.matches(snapshot.index, snapshot.term):
            state.commit_to(snapshot.index)
        else:
            self._restore(snapshot)
        self._acknowledge(message.source, state.log.committed)

    def _restore(self, snapshot: SnapshotMeta) -> None:
        state = self._state
        state.log.restore(snapshot)
        state.configurations.clear()
        state.switch_to(snapshot.configuration, snapshot.index)
        state.received_snapshot = snapshot
        state.effects.append(Restore(snapshot))

    def _acknowledge(self, leader: NodeId, index: int) -> None:
        state = self._state
        state.send(
            AppendEntriesResponse(source=state.node, target=leader, term=state.term, index=index)
        )
