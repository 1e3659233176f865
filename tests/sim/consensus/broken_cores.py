"""Cores with one thing wrong each. They inherit everything else from the real one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from moreton.consensus.core.election import Election
from moreton.consensus.core.events import Effect, Event, Persist, Send
from moreton.consensus.core.log import Log
from moreton.consensus.core.messages import AppendEntriesResponse, Entry
from moreton.consensus.core.node import RaftNode
from moreton.consensus.core.quorum import committed_index
from moreton.consensus.core.reads import Reads
from moreton.consensus.core.replication import Replication
from moreton.consensus.core.state import Recovered
from moreton.kernel.time import Instant


class ForgetsItsVote(RaftNode):
    """Does not find on its disk whom it voted for."""

    def __init__(self, node: int, recovered: Recovered, **others: Any) -> None:
        forgotten = replace(recovered.hard_state, vote=None)
        super().__init__(node, replace(recovered, hard_state=forgotten), **others)


class SkipsAnFsync(RaftNode):
    """Holds writes for durable that are not."""

    def handle_all(self, events: Iterable[Event], now: Instant) -> Sequence[Effect]:
        return [unsynced(effect) for effect in super().handle_all(events, now)]

    def wake(self, now: Instant) -> Sequence[Effect]:
        return [unsynced(effect) for effect in super().wake(now)]


def unsynced(effect: Effect) -> Effect:
    return replace(effect, sync=False) if isinstance(effect, Persist) else effect


class AnswersBeforeItWrites(RaftNode):
    """Sends first and persists then."""

    def handle_all(self, events: Iterable[Event], now: Instant) -> Sequence[Effect]:
        return sorted(super().handle_all(events, now), key=lambda each: not isinstance(each, Send))


class CommitsOldTerms(RaftNode):
    """Counts replicas of an entry of an older term, as in figure 3.7."""

    def __init__(self, *arguments: Any, **others: Any) -> None:
        super().__init__(*arguments, **others)
        self._replication.__class__ = CountsOldTerms


class CountsOldTerms(Replication):
    def maybe_commit(self) -> None:
        state = self._state
        acked = {node: progress.match for node, progress in state.progress.items()}
        index = committed_index(state.configuration, acked) or 0
        if index > state.log.committed:
            state.commit_to(index)
            self.want_all(even_empty=True)


class ReadsWithoutAQuorum(RaftNode):
    """Answers reads because it leads, as far as it knows."""

    def __init__(self, *arguments: Any, **others: Any) -> None:
        super().__init__(*arguments, **others)
        self._reads.__class__ = AlwaysHoldsALease


class AlwaysHoldsALease(Reads):
    def _has_lease(self) -> bool:
        return True


class ReadsBeforeItsTermCommits(RaftNode):
    """Takes the commit index that it has for the cluster's, as soon as it is elected."""

    def __init__(self, *arguments: Any, **others: Any) -> None:
        super().__init__(*arguments, **others)
        self._state.log.__class__ = MatchesCommitted


class MatchesCommitted(Log):
    __slots__ = ()

    def matches(self, index: int, term: int) -> bool:
        return index == self.committed or super().matches(index, term)


class KeepsNoLease(RaftNode):
    """Helps to replace a leader that still counts on its lease."""

    def __init__(self, *arguments: Any, **others: Any) -> None:
        super().__init__(*arguments, **others)
        self._election.__class__ = ProtectsNobody


class ProtectsNobody(Election):
    def is_protected(self) -> bool:
        return False


class VotesForAnyLog(RaftNode):
    """Elects leaders that lack what is committed."""

    def __init__(self, *arguments: Any, **others: Any) -> None:
        super().__init__(*arguments, **others)
        self._state.log.__class__ = IsNeverAhead


class IsNeverAhead(Log):
    __slots__ = ()

    def is_up_to_date(self, last_index: int, last_term: int) -> bool:
        del last_index, last_term
        return True


class CutsItsLog(RaftNode):
    """Lets an old message shorten the log."""

    def __init__(self, *arguments: Any, **others: Any) -> None:
        super().__init__(*arguments, **others)
        self._state.log.__class__ = Shortens


class Shortens(Log):
    __slots__ = ()

    def merge(self, entries: Sequence[Entry]) -> None:
        if entries and entries[0].index <= self.last_index and entries[0].index > self.committed:
            self._truncate(entries[0].index)
            self.append(entries)
        else:
            super().merge(entries)


class CountsItselfAtOnce(RaftNode):
    """Counts its own entries before they are durable."""

    def __init__(self, *arguments: Any, **others: Any) -> None:
        super().__init__(*arguments, **others)
        self._replication.__class__ = AcknowledgesItself


class AcknowledgesItself(Replication):
    def append(self, entries: tuple[Entry, ...]) -> None:
        super().append(entries)
        state = self._state
        self.receive_response(
            AppendEntriesResponse(
                source=state.node, target=state.node, term=state.term, index=state.log.last_index
            )
        )
