"""The safety of Raft, looked at after every step of every node.

The five properties of figure 3.2, and what follows from them for hosts: a node votes once a term,
what was refused never gets into a log, and equal histories make equal states. What was checked
once is remembered, so that a step costs what it changed.

Source: Ongaro 2014, figure 3.2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from moreton.consensus.core.configuration import apply_change, decode_change
from moreton.consensus.core.events import Apply, Effect, Persist, Propose, Refuse, Restore
from moreton.consensus.core.messages import (
    Configuration,
    Entry,
    EntryKind,
    Message,
    RequestVoteResponse,
)
from moreton.consensus.core.node import RaftNode
from moreton.consensus.core.state import State


class _Committed(NamedTuple):
    term: int
    data: bytes
    seen_in: int  # the term of the first node that held it for committed


class _Led(NamedTuple):
    term: int
    last_index: int
    last_term: int | None


@dataclass(slots=True)
class _Seen:
    """What is remembered of one life of one node."""

    led: _Led | None = None
    handed_out: int | None = None
    term: int = 0
    committed: int = 0


class Safety:
    """Told of every step; calls *fail* with what is violated. *configuration* is in force."""

    def __init__(self, configuration: Configuration, fail: Callable[[str], None]) -> None:
        self.configuration = configuration
        self.committed = 1  # the founding snapshot's index
        self.leaders: dict[int, int] = {}  # by term
        self.counts: Counter[str] = Counter()
        self._fail = fail
        self._nodes: dict[int, tuple[State, _Seen]] = {}
        self._entries: dict[tuple[int, int], tuple[int | None, Entry]] = {}
        self._log: dict[int, _Committed] = {}
        self._votes: dict[tuple[int, int], int] = {}
        self._digests: dict[int, int] = {}
        self._proposed: set[bytes] = set()
        self._refused: set[bytes] = set()

    def begin(self, node: int, core: RaftNode) -> None:
        """*node* starts, or starts again, with what its disk had."""
        self._nodes[node] = (core.state, _Seen())
        log = core.state.log
        for entry in log.entries(log.first_index):
            self._check_matching(node, log.term(entry.index - 1), entry)

    def end(self, node: int) -> None:
        """*node* is down."""
        self._nodes.pop(node, None)

    def step(self, core: RaftNode, effects: Sequence[Effect]) -> None:
        """Check what a step of *core* changed."""
        state = core.state
        node, term, committed = state.node, state.term, state.log.committed
        seen = self._nodes[node][1]
        for effect in effects:
            self._watch_effect(node, state, seen, effect)
        if state.is_leader:
            self._watch_leader(state, seen)
        else:
            seen.led = None
        if term < seen.term or committed < seen.committed:
            self._fail(f"node {node} went back from term {seen.term}, commit {seen.committed}")
        seen.term, seen.committed = term, committed
        if committed > self.committed:
            self._commit(state)

    def sent(self, message: Message) -> None:
        """Check that a node votes once a term: a vote counts when it leaves, not before."""
        if isinstance(message, RequestVoteResponse) and message.granted and not message.pre:
            self._check_vote(message)

    def applied(self, node: int, index: int, digest: int) -> None:
        """Check that the state after *index* came about as everywhere else."""
        if self._digests.setdefault(index, digest) != digest:
            self._fail(f"state-machine safety: node {node} has another state after entry {index}")

    # --- effects ------------------------------------------------------------------------------

    def _watch_effect(self, node: int, state: State, seen: _Seen, effect: Effect) -> None:
        match effect:
            case Persist(entries=entries) if entries:
                previous = state.log.term(entries[0].index - 1)
                for entry in entries:
                    self._check_matching(node, previous, entry)
                    previous = entry.term
            case Apply(entries=entries):
                for entry in entries:
                    self._check_applied(node, seen, entry)
            case Restore(snapshot=snapshot):
                seen.handed_out = snapshot.index
            case Refuse(event=Propose(data=data)):
                self._refused.add(data)
                if data in self._proposed:
                    self._fail(f"node {node} refused {data!r}, which is in a log")
            case _:
                pass

    def _check_matching(self, node: int, previous: int | None, entry: Entry) -> None:
        """Log matching: same index and term, same entry and everything before it."""
        name = (entry.term, entry.index)
        known = self._entries.get(name)
        if known is None:
            self._entries[name] = (previous, entry)
            self._proposed.add(entry.data)
            if entry.data in self._refused:
                self._fail(f"node {node} has {entry.data!r} in its log, which was refused")
            return
        before, same = known
        if same is not entry and same != entry:
            self._fail(f"log matching: node {node} has {entry}, another node {same}")
        if before is None:
            self._entries[name] = (previous, same)
        elif previous is not None and before != previous:
            self._fail(
                f"log matching: before {entry} node {node} has an entry of term {previous}, "
                f"another node one of term {before}"
            )

    def _check_vote(self, vote: RequestVoteResponse) -> None:
        given = self._votes.setdefault((vote.source, vote.term), vote.target)
        if given != vote.target:
            self._fail(
                f"one vote a term: node {vote.source} votes for {vote.target} in term {vote.term} "
                f"after it voted for {given}"
            )

    def _check_applied(self, node: int, seen: _Seen, entry: Entry) -> None:
        """State-machine safety: at each index everyone applies the same entry."""
        if seen.handed_out is not None and entry.index != seen.handed_out + 1:
            self._fail(f"node {node} applies {entry.index} after {seen.handed_out}")
        seen.handed_out = entry.index
        committed = self._log.get(entry.index)
        if committed is not None and committed[:2] != (entry.term, entry.data):
            self._fail(
                f"state-machine safety: node {node} applies {entry}, but committed at its index "
                f"was {committed}"
            )
        self.counts["applied"] += 1

    # --- leaders ------------------------------------------------------------------------------

    def _watch_leader(self, state: State, seen: _Seen) -> None:
        node, term, log = state.node, state.term, state.log
        last = (log.last_index, log.last_term)
        if seen.led is None or seen.led.term != term:
            self._check_elected(state)
        elif seen.led[1:] == last:
            return
        elif log.last_index < seen.led.last_index or (
            seen.led.last_index > log.base_index
            and log.term(seen.led.last_index) != seen.led.last_term
        ):
            self._fail(
                f"leader append-only: node {node}, which leads term {term}, had "
                f"{seen.led.last_index} entries and changed or lost the last of them"
            )
        seen.led = _Led(term, *last)

    def _check_elected(self, state: State) -> None:
        """Election safety, and leader completeness for what was committed before."""
        leader = self.leaders.setdefault(state.term, state.node)
        if leader != state.node:
            self._fail(
                f"election safety: nodes {leader} and {state.node} both lead term {state.term}"
            )
        self.counts["elections"] += 1
        # By log matching it is enough to look at the last one.
        for index in range(self.committed, 1, -1):
            if self._log[index].seen_in < state.term:
                self._check_complete(state, index)
                break

    def _check_complete(self, state: State, index: int) -> None:
        committed = self._log[index]
        if index > state.log.base_index and state.log.term(index) != committed.term:
            self._fail(
                f"leader completeness: node {state.node}, which leads term {state.term}, lacks "
                f"entry {index} of term {committed.term}, committed in term {committed.seen_in}"
            )

    def _commit(self, state: State) -> None:
        first, self.committed = self.committed + 1, state.log.committed
        for index in range(first, self.committed + 1):
            term = state.log.term(index)
            known = self._entries.get((term or 0, index))
            if term is None or known is None:
                self._fail(f"node {state.node} commits {index}, which it does not have")
                return
            entry = known[1]
            self._log[index] = _Committed(term, entry.data, state.term)
            if entry.kind is EntryKind.CONFIGURATION:
                change = decode_change(entry.data)
                self.configuration = apply_change(self.configuration, change)
                self.counts["configurations"] += 1
        for other, seen in self._nodes.values():
            if seen.led is not None and seen.led.term > state.term:
                self._check_complete(other, self.committed)
