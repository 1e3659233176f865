"""The state that every node of the cluster builds from the same commands, in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, assert_never

from moreton.store.core.changes import Change, HistoryCompacted, LeaseRevoked, NothingChanged
from moreton.store.core.errors import StoreError
from moreton.store.core.model import LeaseId, Transaction, TxnResult
from moreton.store.core.state import State
from moreton.store.raft.core.commands import Begin, Command, Compact, Expire, Grant, Revoke
from moreton.store.raft.core.encoding import decode

Answer: TypeAlias = TxnResult | LeaseId | StoreError | None


@dataclass(frozen=True, slots=True)
class Done:
    """What a command did: the *answer* for who gave it, and the changes to be shown in order."""

    command: Command
    answer: Answer
    changes: Sequence[Change] = ()


class Replica:
    """Keys, history, leases. No clock, no chance, nothing that only one node knows."""

    def __init__(self, state: State | None = None, *, term: int = 0) -> None:
        self.state = state or State()
        self.term = term  # of the newest leader that began

    def apply(self, data: bytes) -> Done:
        """Carry out the command in *data*. A refusal is an answer too.

        Raises `ValueError` for what is no command of this version: to pass over it would make
        this node different from the others.
        """
        command = decode(data)
        try:
            answer, changes = self._perform(command)
        except StoreError as error:
            return Done(command, error)
        return Done(command, answer, changes)

    def _perform(self, command: Command) -> tuple[Answer, Sequence[Change]]:
        state = self.state
        match command:
            case Transaction():
                result, change = state.apply(command)
                return result, () if isinstance(change, NothingChanged) else (change,)
            case Grant(lease):
                return lease.id, (state.grant(lease),)
            case Revoke(lease_id):
                return None, (state.revoke(lease_id),)
            case Expire(leases, term):
                return None, self._expire(leases, term)
            case Begin(term):
                self.term = max(self.term, term)
                return None, ()
            case Compact(revision):
                planned = state.plan_compaction(revision, visible=state.revision)
                state.compact(revision)
                # What lies dead in a file of records concerns nobody here.
                return None, (HistoryCompacted(planned.revision, ()),)
            case _:
                assert_never(command)

    def _expire(self, leases: Sequence[LeaseId], term: int) -> Sequence[LeaseRevoked]:
        if term != self.term:
            return ()
        return [self.state.revoke(lease) for lease in leases if lease in self.state.leases]
