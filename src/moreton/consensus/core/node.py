"""One node of a Raft cluster: a machine that is told what happened and says what to do.

`RaftNode` looks at terms, hands each event to the part that it concerns, and gathers what follows
into effects in an order that keeps every promise through a crash.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import assert_never

from moreton.consensus.core.election import Election
from moreton.consensus.core.events import (
    Applied,
    Apply,
    Campaign,
    Compact,
    ConfigurationChanged,
    Effect,
    Event,
    Persist,
    Persisted,
    Propose,
    ProposeChange,
    ReadRequest,
    Receive,
    Refusal,
    Refuse,
    Restore,
    Send,
    SnapshotReported,
    SnapshotTaken,
    TransferLeadership,
    Unreachable,
)
from moreton.consensus.core.log import entry_bytes
from moreton.consensus.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    EntryKind,
    ForwardProposal,
    ForwardRead,
    ForwardReadResponse,
    ForwardTransfer,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    NodeId,
    RequestVote,
    RequestVoteResponse,
    SnapshotMeta,
    TimeoutNow,
)
from moreton.consensus.core.proposals import Proposals
from moreton.consensus.core.reads import Reads
from moreton.consensus.core.replication import Following, Replication
from moreton.consensus.core.state import Recovered, Role, Settings, State, Status
from moreton.kernel.rng import Rng
from moreton.kernel.time import Instant

# They rest on nothing that is not durable yet: a leader's term and vote are, and what it counts
# of its own log is too. So they may travel while the disk writes (section 10.2.1).
_LEADER_MESSAGES = (AppendEntries, Heartbeat, InstallSnapshot, TimeoutNow)
# Whoever sends one of these leads its term.
_FROM_LEADER = (AppendEntries, Heartbeat, InstallSnapshot)


class RaftNode:
    """A member of one cluster; a `Machine`.

    *recovered* is what the node's disk holds; *rng* only spreads election timeouts.
    """

    def __init__(
        self,
        node: NodeId,
        recovered: Recovered,
        *,
        rng: Rng,
        settings: Settings | None = None,
    ) -> None:
        self._state = State(node, recovered, settings=settings or Settings(), rng=rng)
        self._reads = Reads(self._state)
        self._replication = Replication(self._state)
        self._following = Following(self._state)
        self._proposals = Proposals(self._state, self._replication, self._reads)
        self._election = Election(self._state, on_elected=self._lead)
        self._started = False
        self._hard_state = recovered.hard_state  # as the disk has it, or will
        self._number = self._durable = 0
        self._synced = 0  # the last that must be durable before this node may rely on it
        self._awaiting: deque[tuple[int, list[Message]]] = deque()
        self._applying: deque[tuple[int, int]] = deque()

    def handle(self, event: Event, now: Instant) -> Sequence[Effect]:
        """What follows from *event*."""
        return self.handle_all((event,), now)

    def handle_all(self, events: Iterable[Event], now: Instant) -> Sequence[Effect]:
        """What follows from all *events* together: fewer writes and messages than one by one."""
        self._begin(now)
        for event in events:
            self._take(event)
        return self._gather()

    def wake(self, now: Instant) -> Sequence[Effect]:
        """Campaign, send heartbeats or step down, if it is time."""
        self._begin(now)
        if self._state.is_leader:
            self._wake_leader()
        else:
            self._election.wake()
        return self._gather()

    def deadline(self) -> Instant | None:
        """When `wake` has something to do; `None` for a node that may not lead."""
        state = self._state
        if not self._started:
            return Instant(0)
        if not state.is_leader:
            return state.election_due if state.is_voter else None
        due = min(state.heartbeat_due, state.quorum_check_due)
        return due if state.transferee is None else min(due, state.transfer_due)

    def describe_snapshot(self, index: int) -> SnapshotMeta:
        """What a snapshot of the state machine after *index* must carry.

        Raises `ValueError` unless *index* is committed and still in the log.
        """
        return self._state.describe_snapshot(index)

    def status(self) -> Status:
        """How things stand."""
        return self._state.status()

    @property
    def state(self) -> State:
        """Its variables: to look at, not to change."""
        return self._state

    # --- events -------------------------------------------------------------------------------

    def _begin(self, now: Instant) -> None:
        state = self._state
        state.now = now
        if self._started:
            return
        self._started = True
        state.draw_election_timeout()
        if state.settings.lease_reads:
            # Before it went down it may have vouched for a leader.
            state.leader_protected_until = now + state.settings.election_timeout
        index, configuration = state.configurations[-1]
        state.effects.append(ConfigurationChanged(index, configuration))
        if state.log.applied < state.log.snapshot.index:
            state.effects.append(Restore(state.log.snapshot))

    def _take(self, event: Event) -> None:
        match event:
            case Receive(message):
                self._receive(message)
            case Propose() | ProposeChange():
                self._proposals.propose(event)
            case ReadRequest(context):
                self._reads.request(self._state.node, context)
            case Persisted(number):
                self._durable = max(self._durable, number)
            case Applied(index):
                self._note_applied(index)
            case TransferLeadership():
                self._proposals.transfer(event)
            case Campaign():
                self._campaign(event)
            case SnapshotTaken(snapshot):
                if self._state.note_snapshot(snapshot):
                    self._state.effects.append(Compact(self._state.log.base_index))
            case SnapshotReported():
                self._replication.report_snapshot(event)
            case Unreachable(target):
                self._replication.report_unreachable(target)
                self._election.suspect(target)
            case _:
                assert_never(event)

    def _receive(self, message: Message) -> None:
        match message:
            case RequestVote() | RequestVoteResponse() | TimeoutNow():
                if not isinstance(message, TimeoutNow):
                    self._election.learn_commit(message)
                if self._heed_term(message):
                    self._receive_of_election(message)
            case AppendEntries() | Heartbeat() | InstallSnapshot():
                if self._heed_term(message) and not self._state.is_leader:
                    self._receive_of_leader(message)
            case AppendEntriesResponse() | HeartbeatResponse():
                # Whoever is no member any more counts for nothing.
                known = message.source in self._state.progress
                if self._heed_term(message) and known and self._state.is_leader:
                    self._receive_of_follower(message)
            case _:
                self._receive_forwarded(message)

    def _receive_forwarded(
        self, message: ForwardProposal | ForwardRead | ForwardReadResponse | ForwardTransfer
    ) -> None:
        """What is passed on concerns whoever leads, in whatever term."""
        match message:
            case ForwardProposal():
                self._proposals.receive_forwarded(message)
            case ForwardRead(source=source, context=context):
                if self._state.is_leader:
                    self._reads.request(source, context)
            case ForwardReadResponse():
                self._reads.receive_index(message)
            case ForwardTransfer(transferee=transferee):
                if self._state.is_leader:
                    self._proposals.transfer(TransferLeadership(transferee))
            case _:
                assert_never(message)

    def _receive_of_election(self, message: RequestVote | RequestVoteResponse | TimeoutNow) -> None:
        if isinstance(message, RequestVote):
            self._election.receive_request(message)
        elif isinstance(message, RequestVoteResponse):
            self._election.receive_response(message)
        else:
            # The leader is not lost, it hands over: there is no need to ask first.
            self._election.start(transfer=True)

    def _receive_of_leader(self, message: AppendEntries | Heartbeat | InstallSnapshot) -> None:
        state = self._state
        if state.role is not Role.FOLLOWER:
            state.become_follower(state.term, message.source)
        state.leader = message.source
        state.draw_election_timeout()
        state.leader_protected_until = state.now + state.settings.election_timeout
        if isinstance(message, AppendEntries):
            self._following.receive_append(message)
        elif isinstance(message, Heartbeat):
            self._following.receive_heartbeat(message)
        else:
            self._following.receive_snapshot(message)

    def _receive_of_follower(self, message: AppendEntriesResponse | HeartbeatResponse) -> None:
        if isinstance(message, HeartbeatResponse):
            self._reads.receive_response(message)
            self._replication.receive_heartbeat_response(message)
        else:
            self._replication.receive_response(message)
            self._proposals.hand_over(message.source)

    def _heed_term(self, message: Message) -> bool:
        """Whether *message* is of the present term, which may begin with it (section 3.3)."""
        state = self._state
        if message.term < state.term:
            self._answer_behind(message)
            return False
        if isinstance(message, RequestVote) and message.term > state.term:
            if self._election.is_protected() and not message.transfer:
                return False  # its sender may hear no leader; this node does (section 4.2.3)
            if message.pre:
                return True
        if message.term > state.term:
            if isinstance(message, RequestVoteResponse) and message.pre and message.granted:
                return True  # of the term that it asked about
            leads = isinstance(message, _FROM_LEADER)
            state.become_follower(message.term, message.source if leads else None)
        return True

    def _answer_behind(self, message: Message) -> None:
        state = self._state
        if isinstance(message, RequestVote):
            self._election.refuse(message)
        elif isinstance(message, _FROM_LEADER):
            # A node that was cut off, and has a higher term, could not get back otherwise: a
            # leader learns the term and steps down, instead of being ignored for ever.
            state.send(
                AppendEntriesResponse(
                    source=state.node, target=message.source, term=state.term, index=0
                )
            )

    def _campaign(self, event: Campaign) -> None:
        state = self._state
        if not state.is_voter:
            state.effects.append(Refuse(event, Refusal.NOT_A_VOTER, state.leader))
        elif state.settings.lease_reads and self._election.is_protected():
            state.effects.append(Refuse(event, Refusal.LEASE_HELD, state.leader))
        else:
            self._election.start()

    def _note_applied(self, index: int) -> None:
        log = self._state.log
        log.applied = max(log.applied, index)
        while self._applying and self._applying[0][0] <= index:
            self._applying.popleft()

    # --- a leader's time ----------------------------------------------------------------------

    def _lead(self) -> None:
        state = self._state
        state.heartbeat_due = state.now + state.settings.heartbeat_interval
        state.quorum_check_due = state.now + state.settings.election_timeout
        self._reads.lead()
        # An entry of its own term, so that it may commit what it found (section 3.6.2).
        self._replication.append((Entry(0, 0, EntryKind.EMPTY),))
        state.uncommitted_bytes = 0

    def _wake_leader(self) -> None:
        state = self._state
        if state.now >= state.quorum_check_due:
            state.quorum_check_due = state.now + state.settings.election_timeout
            self._replication.check_snapshots()
            self._election.check_quorum()
        if state.transferee is not None and state.now >= state.transfer_due:
            state.abort_transfer()
        if state.is_leader and state.now >= state.heartbeat_due:
            state.heartbeat_due = state.now + state.settings.heartbeat_interval
            self._reads.begin_round()

    # --- effects ------------------------------------------------------------------------------

    def _gather(self) -> list[Effect]:
        self._settle()
        state = self._state
        self._replication.flush()
        outbox, state.outbox = state.outbox, []
        effects: list[Effect] = [Send(m) for m in outbox if isinstance(m, _LEADER_MESSAGES)]
        first = len(effects)
        effects += self._persist()
        if first < len(outbox):
            effects += [Send(m) for m in outbox if not isinstance(m, _LEADER_MESSAGES)]
        if state.own:
            self._awaiting.append((self._synced, state.own))
            state.own = []
        effects += state.take_leader_change()
        effects += state.effects
        state.effects = []
        effects += self._apply()
        return effects

    def _settle(self) -> None:
        """Hear the node's own answers as soon as they are durable, and what follows from them."""
        state = self._state
        while True:
            while self._awaiting and self._awaiting[0][0] <= self._durable:
                for message in self._awaiting.popleft()[1]:
                    self._receive(message)
            self._proposals.settle()
            self._reads.settle()
            if not state.own or self._must_sync() or self._durable < self._synced:
                return
            self._awaiting.append((self._synced, state.own))
            state.own = []

    def _must_sync(self) -> bool:
        state, before = self._state, self._hard_state
        # A commit index that is lost is found again; a vote that is lost may be given twice.
        voted = before.term != state.term or before.vote != state.vote
        return voted or state.log.has_unwritten or state.received_snapshot is not None

    def _persist(self) -> list[Effect]:
        state, sync = self._state, self._must_sync()
        before = self._hard_state
        if not sync and state.log.committed == before.commit:
            return []
        after = state.hard_state
        entries = state.log.take_unwritten()
        snapshot, state.received_snapshot = state.received_snapshot, None
        self._hard_state = after
        self._number += 1
        if sync:
            self._synced = self._number
        return [
            Persist(
                number=self._number,
                hard_state=after if after != before else None,
                entries=entries,
                snapshot=snapshot,
                sync=sync,
            )
        ]

    def _apply(self) -> list[Effect]:
        log = self._state.log
        if log.handed_out >= log.committed:
            return []
        room = self._state.settings.apply_bytes_max - sum(size for _, size in self._applying)
        entries = log.take_committed(room) if room > 0 else ()
        if not entries:
            return []
        self._applying.append((entries[-1].index, sum(map(entry_bytes, entries))))
        return [Apply(entries)]
