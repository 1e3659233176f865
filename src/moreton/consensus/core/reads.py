"""Reads that see everything acknowledged before them, without a log entry.

A read waits for the commit index of its arrival, and for proof that its leader led at that time: a
round of heartbeats sent afterwards that a quorum answers. With lease reads the last such proof
holds for a while: nobody who gave it votes for another before an election timeout has passed.

Source: Ongaro 2014, section 6.4 and 6.4.1.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from moreton.consensus.core.events import ReadReady, ReadRequest, Refusal, Refuse
from moreton.consensus.core.messages import (
    ForwardRead,
    ForwardReadResponse,
    Heartbeat,
    HeartbeatResponse,
    NodeId,
)
from moreton.consensus.core.quorum import committed_index
from moreton.consensus.core.state import State
from moreton.kernel.time import Instant

# Of so many rounds that no quorum has answered the time of sending is remembered.
ROUNDS_MAX = 1024


@dataclass(slots=True)
class _Read:
    source: NodeId
    context: bytes
    index: int
    round: int | None = None  # the first round that was sent after it came; none yet


class Reads:
    """The rounds of a leader's heartbeats, and the reads that wait for them."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._waiting: deque[_Read] = deque()
        self._early: list[tuple[NodeId, bytes]] = []  # until the term has a committed entry
        self._round = 0
        self._confirmed = 0
        self._sent_at: dict[int, Instant] = {}
        self._confirmed_at: Instant | None = None
        self._lease_given_up = False
        self._heard = False  # something that may confirm a round
        self._configuration = state.configuration

    def lead(self) -> None:
        """A new term of leadership: rounds count from one again."""
        self._round = self._confirmed = 0
        self._sent_at.clear()
        self._confirmed_at = None
        self._lease_given_up = False

    def give_up_lease(self) -> None:
        """For the rest of the term: the leader has called for its own replacement."""
        self._lease_given_up = True

    def request(self, source: NodeId, context: bytes) -> None:
        """A read came to this node, or a follower passed it on."""
        state = self._state
        if not state.is_leader:
            self._pass_on(context)
        elif len(self._waiting) + len(self._early) >= state.settings.reads_max:
            if source == state.node:
                self._refuse(context, Refusal.TOO_MANY_READS)
        elif not state.log.matches(state.log.committed, state.term):
            # Its commit index may be behind an earlier leader's until an entry of its own commits.
            self._early.append((source, context))
        elif self._has_lease():
            self._answer(_Read(source, context, state.log.committed))
        else:
            self._waiting.append(_Read(source, context, state.log.committed))

    def receive_index(self, message: ForwardReadResponse) -> None:
        """The leader answered for a read that was passed on."""
        self._state.effects.append(ReadReady(message.context, message.index))

    def begin_round(self) -> None:
        """Send heartbeats; every waiting read counts on them."""
        state = self._state
        self._round += 1
        self._heard = True
        self._sent_at[self._round] = state.now
        self._sent_at.pop(self._round - ROUNDS_MAX, None)
        for read in reversed(self._waiting):
            if read.round is not None:
                break
            read.round = self._round
        for peer in state.peers():
            progress = state.progress[peer]
            state.send(
                Heartbeat(
                    source=state.node,
                    target=peer,
                    term=state.term,
                    commit=min(progress.match, state.log.committed),
                    round=self._round,
                )
            )

    def receive_response(self, message: HeartbeatResponse) -> None:
        """A follower answered a round."""
        progress = self._state.progress[message.source]
        progress.round = max(progress.round, message.round)
        self._heard = True

    def settle(self) -> None:
        """Answer what can be answered, refuse what never will, and ask a quorum for the rest."""
        state = self._state
        if not state.is_leader:
            self._drop()
            return
        if self._early and state.log.matches(state.log.committed, state.term):
            early, self._early = self._early, []
            for source, context in early:
                self.request(source, context)
        self._confirm()
        # One round at a time: reads that come meanwhile share the next.
        asking = bool(self._waiting) and self._waiting[0].round is not None
        if self._waiting and not asking:
            self.begin_round()
            self._confirm()

    def _confirm(self) -> None:
        state = self._state
        if not self._heard and self._configuration is state.configuration:
            return
        self._heard, self._configuration = False, state.configuration
        acked = {node: progress.round for node, progress in state.progress.items()}
        acked[state.node] = self._round
        confirmed = committed_index(state.configuration, acked) or 0
        if confirmed > self._confirmed:
            self._confirmed = confirmed
            self._confirmed_at = self._sent_at.get(confirmed, self._confirmed_at)
            self._sent_at = {n: at for n, at in self._sent_at.items() if n > confirmed}
        while self._waiting:
            round_ = self._waiting[0].round
            if round_ is None or round_ > self._confirmed:
                break
            self._answer(self._waiting.popleft())

    def _has_lease(self) -> bool:
        settings = self._state.settings
        if not settings.lease_reads or self._lease_given_up or self._confirmed_at is None:
            return False
        # The leader's clock may be slow and a voter's fast.
        share = (1 - settings.clock_drift_max) / (1 + settings.clock_drift_max)
        return self._state.now < self._confirmed_at + settings.election_timeout * share

    def _answer(self, read: _Read) -> None:
        state = self._state
        if read.source == state.node:
            state.effects.append(ReadReady(read.context, read.index))
        else:
            state.send(
                ForwardReadResponse(
                    source=state.node,
                    target=read.source,
                    term=state.term,
                    context=read.context,
                    index=read.index,
                )
            )

    def _pass_on(self, context: bytes) -> None:
        state = self._state
        if state.leader is None:
            self._refuse(context, Refusal.NO_LEADER)
        elif not state.settings.forward:
            self._refuse(context, Refusal.NOT_LEADER)
        else:
            state.send(
                ForwardRead(
                    source=state.node, target=state.leader, term=state.term, context=context
                )
            )

    def _drop(self) -> None:
        if not self._waiting and not self._early:
            return
        mine = [read.context for read in self._waiting if read.source == self._state.node]
        mine += [context for source, context in self._early if source == self._state.node]
        for context in mine:
            self._refuse(context, Refusal.LEADERSHIP_LOST)
        self._waiting.clear()
        self._early.clear()

    def _refuse(self, context: bytes, refusal: Refusal) -> None:
        state = self._state
        state.effects.append(Refuse(ReadRequest(context), refusal, state.leader))
