"""Elections: who asks for votes, who gets them, and whom a living leader is protected from.

Source: Ongaro 2014, section 3.4 (election), 3.6.1 (restriction), 9.6 (pre-vote), 6.2 and 4.2.3
(a node that hears from a leader votes for nobody else).
"""

from __future__ import annotations

from collections.abc import Callable

from moreton.consensus.core.messages import NodeId, RequestVote, RequestVoteResponse
from moreton.consensus.core.quorum import VoteResult, vote_result
from moreton.consensus.core.state import Role, State

# Of a leader that cannot be reached, before it is believed to be gone.
_SILENT_HEARTBEATS = 2


class Election:
    """The candidate's and the voter's part; *on_elected* is called once a term is won."""

    def __init__(self, state: State, *, on_elected: Callable[[], None]) -> None:
        self._state = state
        self._on_elected = on_elected

    def start(self, *, transfer: bool = False) -> None:
        """Campaign; with *transfer* at once, because the leader itself asked for it."""
        state = self._state
        if state.is_leader or not state.is_voter:
            return
        if state.settings.pre_vote and not transfer:
            state.become_pre_candidate()
            self._ask(state.term + 1, pre=True, transfer=False)
        else:
            state.become_candidate()
            self._ask(state.term, pre=False, transfer=transfer)

    def wake(self) -> None:
        """Campaign if the election timeout has passed."""
        state = self._state
        if not state.is_leader and state.now >= state.election_due:
            state.draw_election_timeout()
            self.start()

    def suspect(self, node: NodeId) -> None:
        """*node* cannot be reached. If it leads and stays silent, do not wait for the timeout.

        A process that dies takes its connections with it, which its followers see at once. One
        whose connection alone broke is heard again within a heartbeat, and nothing has happened.
        With lease reads the leader counts on the whole timeout.
        """
        state = self._state
        settings = state.settings
        if node != state.leader or node == state.node or settings.lease_reads:
            return
        if not settings.pre_vote:
            return  # a campaign that nobody was asked about first may depose a living leader
        silent = settings.heartbeat_interval * _SILENT_HEARTBEATS
        soon = state.now + silent * (1 + state.rng.random())
        state.election_due = min(state.election_due, soon)
        state.leader_protected_until = min(state.leader_protected_until, state.now + silent)

    def is_protected(self) -> bool:
        """Whether a leader is, or was a moment ago, so that nobody is helped to replace it."""
        state = self._state
        if not state.settings.check_quorum:
            return False
        if state.is_leader:
            return True
        # With lease reads even a leader that is forgotten keeps the rest of its lease.
        knows_leader = state.leader is not None or state.settings.lease_reads
        return knows_leader and state.now < state.leader_protected_until

    def learn_commit(self, message: RequestVote | RequestVoteResponse) -> None:
        """Commit what the sender knows to be, whatever its term: what is committed remains so.

        A voter that was removed may have the longer log, so that nobody wins who does not know of
        its removal; and it does not campaign itself. So it says what it knows to who asks.

        Source: raft-rs, `maybe_commit_by_vote`.
        """
        state = self._state
        if state.is_leader or not state.log.matches(message.commit, message.commit_term):
            return
        before = state.configuration
        state.commit_to(message.commit)
        if state.configuration != before and state.role is not Role.FOLLOWER:
            state.become_follower(state.term, None)  # other votes count now: ask anew, later

    def receive_request(self, message: RequestVote) -> None:
        """Vote for the sender, or refuse. Its term is not behind."""
        state = self._state
        grant = self._may_vote(message) and state.log.is_up_to_date(
            message.last_index, message.last_term
        )
        if grant and not message.pre:
            state.vote = message.source
            state.draw_election_timeout()
        self._answer(message, term=message.term if grant else state.term, granted=grant)

    def refuse(self, message: RequestVote) -> None:
        """Tell a candidate that its term is over."""
        self._answer(message, term=self._state.term, granted=False)

    def receive_response(self, message: RequestVoteResponse) -> None:
        """Count a vote; it decides the election as soon as no other could turn it."""
        state = self._state
        if state.role is not (Role.PRE_CANDIDATE if message.pre else Role.CANDIDATE):
            return
        if message.pre and message.granted and message.term != state.term + 1:
            return  # for an earlier campaign
        state.votes.setdefault(message.source, message.granted)
        result = vote_result(state.configuration, state.votes)
        if result is VoteResult.LOST:
            state.become_follower(state.term, None)
        elif result is VoteResult.WON and message.pre:
            state.become_candidate()
            self._ask(state.term, pre=False, transfer=False)
        elif result is VoteResult.WON:
            state.become_leader()
            self._on_elected()

    def check_quorum(self) -> None:
        """Let a leader step down unless it heard a quorum since the last time (section 6.2)."""
        state = self._state
        active = {
            node: progress.recently_active or node == state.node
            for node, progress in state.progress.items()
        }
        for progress in state.progress.values():
            progress.recently_active = False
        result = vote_result(state.configuration, active)
        if state.settings.check_quorum and result is not VoteResult.WON:
            state.become_follower(state.term, None)

    def _may_vote(self, message: RequestVote) -> bool:
        state = self._state
        if message.pre and message.term > state.term:
            return True
        return state.vote == message.source or (state.vote is None and state.leader is None)

    def _ask(self, term: int, *, pre: bool, transfer: bool) -> None:
        state = self._state
        for peer in state.voter_peers():
            state.send(
                RequestVote(
                    source=state.node,
                    target=peer,
                    term=term,
                    last_index=state.log.last_index,
                    last_term=state.log.last_term,
                    pre=pre,
                    transfer=transfer,
                    commit=state.log.committed,
                    commit_term=state.log.committed_term,
                )
            )
        # Its own vote counts like any other: once it is durable.
        state.send(
            RequestVoteResponse(
                source=state.node, target=state.node, term=term, granted=True, pre=pre
            )
        )

    def _answer(self, message: RequestVote, *, term: int, granted: bool) -> None:
        state = self._state
        state.send(
            RequestVoteResponse(
                source=state.node,
                target=message.source,
                term=term,
                granted=granted,
                pre=message.pre,
                commit=state.log.committed,
                commit_term=state.log.committed_term,
            )
        )
