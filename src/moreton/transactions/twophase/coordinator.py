"""Runs two-phase commits: everybody promises, the log decides, everybody carries it out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from threading import Lock
from types import TracebackType
from typing import Any, Self, TypeVar

from moreton.kernel.arguments import check_duration, check_kind
from moreton.kernel.errors import MoretonError
from moreton.kernel.ids import new_id
from moreton.kernel.rng import system_rng
from moreton.kernel.time import Clock, Instant, SystemClock
from moreton.transactions import measuring, tracing
from moreton.transactions.databases.errors import DatabaseUnavailable
from moreton.transactions.failpoints import Failpoint
from moreton.transactions.twophase.core.doubts import Decision
from moreton.transactions.twophase.core.names import Name
from moreton.transactions.twophase.coroutines import AsyncWork
from moreton.transactions.twophase.decisions import DecisionLog
from moreton.transactions.twophase.errors import Aborted, OutcomeUnknown
from moreton.transactions.twophase.participant import Branch, Fate, Participant

# Far below the time for which the log keeps its aborts: who is later must not commit.
DECIDE_WITHIN = timedelta(minutes=5)
_THREADS = 16
# Decisions that all have carried out are removed many at a time.
_FORGET_AT_ONCE = 64
_LOG = logging.getLogger("moreton.transactions")
T = TypeVar("T")
_COUNTED, _ID = "moreton_twophase_transactions", "moreton.twophase.id"

_prepare = Failpoint("twophase.prepare")
_prepared = Failpoint("twophase.prepared")
_commit = Failpoint("twophase.commit")
_committed = Failpoint("twophase.committed")
_one_phase = Failpoint("twophase.one-phase")


class TwoPhase:
    """Transactions over *participants*, decided in *log*.

    Run a `Resolver` with the same ones: it ends what a crash left open. Many processes may have
    one log. For threads: each has its own `begin`.
    """

    def __init__(
        self,
        log: DecisionLog,
        *participants: Participant,
        decide_within: timedelta = DECIDE_WITHIN,
        clock: Clock | None = None,
    ) -> None:
        check_kind("log", log, DecisionLog, "the log of open_decisions('sqlite:///file')")
        check_duration("decide_within", decide_within)
        names = [participant.name for participant in participants]
        if len(set(names)) < len(names):
            raise ValueError(f"participants are {', '.join(names)}: give each its own name")
        self.log = log
        self.participants = {participant.name: participant for participant in participants}
        self._decide_within = decide_within
        self._clock = clock or SystemClock()
        self._rng = system_rng()
        self._pool = ThreadPoolExecutor(_THREADS, "moreton-twophase")
        self._lock = Lock()
        self._carried_out: list[str] = []

    def begin(self) -> Work:
        """A transaction, for a `with` block: committed at its end, rolled back if it raises."""
        return Work(self, new_id(self._clock.wall(), self._rng), self._clock.now())

    def begin_async(self) -> AsyncWork:
        """As `begin`, for an `async with` block; as many at once as the loop has threads."""
        return AsyncWork(self.begin())

    def close(self) -> None:
        """End the threads, and remove decisions that everybody has carried out."""
        self._pool.shutdown()
        with self._lock:
            done, self._carried_out = self._carried_out, []
        self.log.forget(done)

    def all_at_once(self, function: Callable[[T], object], items: Iterable[T]) -> list[Exception]:
        """*function* of each item, at once where there are several; what went wrong."""
        listed = list(items)
        if len(listed) == 1:
            futures = [_now(function, listed[0])]
        else:
            tasks = [tracing.in_context(partial(_now, function, one)) for one in listed]
            futures = [task.result() for task in [self._pool.submit(one) for one in tasks]]
        return [error for error in futures if error is not None]

    def decide(self, transaction_id: str, marks: dict[str, str], began: Instant) -> None:
        """Decide to commit; raises `Aborted` and `OutcomeUnknown`."""
        if self._clock.now() - began > self._decide_within:
            raise Aborted(transaction_id=transaction_id, reason="it took too long to decide")
        try:
            decision = self.log.commit(transaction_id, marks)
        except DatabaseUnavailable:
            decision = self._decision_after_all(transaction_id, marks)
        if decision is not Decision.COMMIT:
            raise Aborted(
                transaction_id=transaction_id,
                reason="the resolver, or a person, had given it up before it was decided",
            )

    def carried_out(self, transaction_id: str) -> None:
        """Every participant has committed: the decision is not needed any more."""
        with self._lock:
            self._carried_out.append(transaction_id)
            if len(self._carried_out) < _FORGET_AT_ONCE:
                return
            done, self._carried_out = self._carried_out, []
        try:
            self.log.forget(done)
        except MoretonError:
            _LOG.warning("decisions that were carried out are still in the log", exc_info=True)

    def _decision_after_all(self, transaction_id: str, marks: Mapping[str, str]) -> Decision:
        """The log failed while it was told: it is asked what it has, by aborting.

        It has nothing, too, when the resolver has carried the decision out meanwhile.
        """
        try:
            decision = self.log.abort(transaction_id)
            if decision is Decision.ABORT and self._is_committed(transaction_id, marks):
                return Decision.COMMIT
        except MoretonError as error:
            raise OutcomeUnknown(transaction_id=transaction_id) from error
        return decision

    def _is_committed(self, transaction_id: str, marks: Mapping[str, str]) -> bool:
        for name, mark in marks.items():
            gid = str(Name(self.log.log_id, transaction_id, name))
            if self.participants[name].fates({gid: mark})[gid] is Fate.COMMITTED:
                return True
        return False


class Work:
    """One transaction: `work["stock"]` is the connection to do its part at that participant with.

    *pending* names participants that have not answered the commit yet; the resolver asks again.
    """

    def __init__(self, home: TwoPhase, transaction_id: str, began: Instant) -> None:
        self.transaction_id = transaction_id
        self.pending: Sequence[str] = ()
        self._home = home
        self._began = began
        self._branches: dict[str, Branch] = {}
        self._ended = False

    def __enter__(self) -> Self:
        """Nothing has begun yet: a participant's transaction does when it is first used."""
        return self

    def __getitem__(self, name: str) -> Any:
        """The connection to participant *name*, in its open transaction."""
        if self._ended:
            raise ValueError(f"transaction {self.transaction_id} has ended: begin another one")
        if name not in self._branches:
            participant = self._home.participants.get(name)
            if participant is None:
                known = ", ".join(self._home.participants) or "none"
                raise KeyError(f"no participant is called {name!r}: there are {known}")
            self._branches[name] = participant.begin(self._gid(name))
        return self._branches[name].connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Commit, or roll back if the block raised."""
        self._ended = True
        if kind is not None:
            self._roll_back(self._branches.values())
            measuring.measure(_COUNTED, outcome="rolled_back")
            return
        start = time.perf_counter()
        try:
            with tracing.span("two-phase commit", attributes={_ID: self.transaction_id}):
                outcome = self._end()
        except BaseException as trouble:
            unknown = isinstance(trouble, OutcomeUnknown)
            measuring.measure(_COUNTED, outcome="unknown" if unknown else "rolled_back")
            raise
        measuring.measure(_COUNTED, outcome=outcome)
        measuring.measure("moreton_twophase_seconds", time.perf_counter() - start)

    def _end(self) -> str:
        """Commit; how it ended."""
        try:
            changed = {name: one for name, one in self._branches.items() if one.has_changes()}
        except BaseException:
            self._roll_back(self._branches.values())
            raise
        if len(changed) > 1:
            self._commit_in_two_phases(changed)
            return "pending" if self.pending else "committed"
        self._commit_in_one(changed)
        return "one_phase"

    def _commit_in_one(self, changed: dict[str, Branch]) -> None:
        """Who alone has something to commit decides alone."""
        self._roll_back(one for name, one in self._branches.items() if name not in changed)
        for branch in changed.values():
            _one_phase()
            branch.commit()

    def _commit_in_two_phases(self, changed: dict[str, Branch]) -> None:
        marks: dict[str, str] = {}

        def prepare(name: str) -> None:
            _prepare()
            with self._span("prepare", name):
                marks[name] = changed[name].prepare()
            _prepared()

        troubles = self._home.all_at_once(prepare, changed)
        # Others have read under locks that may go now: nobody can fail any more.
        self._roll_back(one for name, one in self._branches.items() if name not in changed)
        if troubles:
            self._undo(changed)
            raise troubles[0]
        try:
            self._home.decide(self.transaction_id, marks, self._began)
        except OutcomeUnknown:
            raise
        except MoretonError:
            self._undo(changed)
            raise
        # Whoever is interrupted here cannot know what is decided: the resolver ends it.
        self._carry_out(changed)

    def _carry_out(self, names: Iterable[str]) -> None:
        pending: list[str] = []
        ended_by_others: list[str] = []

        def commit(name: str) -> None:
            _commit()
            try:
                with self._span("commit", name):
                    found = self._home.participants[name].commit(self._gid(name))
                if not found:
                    ended_by_others.append(name)
            except BaseException:
                pending.append(name)
                raise
            _committed()

        troubles = self._home.all_at_once(commit, names)
        self.pending = tuple(pending)
        for trouble in troubles:
            _LOG.warning(
                "transaction %s is committed, and a participant does not answer yet: %s",
                self.transaction_id, trouble,
            )  # fmt: skip
        # Who ended it may have rolled it back: the resolver looks, while the decision is there.
        if not troubles and not ended_by_others:
            self._home.carried_out(self.transaction_id)

    def _undo(self, names: Iterable[str]) -> None:
        """Roll back what was prepared and what was not; what does not answer the resolver ends."""

        def undo(name: str) -> None:
            self._branches[name].rollback()
            self._home.participants[name].rollback(self._gid(name))

        for trouble in self._home.all_at_once(undo, names):
            _LOG.warning(
                "transaction %s is rolled back, and a participant does not answer yet: %s",
                self.transaction_id, trouble,
            )  # fmt: skip

    def _roll_back(self, branches: Iterable[Branch]) -> None:
        for branch in branches:
            branch.rollback()

    def _span(self, act: str, name: str) -> AbstractContextManager[Any]:
        return tracing.span(f"{act} {name}", "client", attributes={_ID: self.transaction_id})

    def _gid(self, name: str) -> str:
        return str(Name(self._home.log.log_id, self.transaction_id, name))


def _now(function: Callable[[T], object], item: T) -> Exception | None:
    try:
        function(item)
    except Exception as error:  # noqa: BLE001 - it is handed to who asked
        return error
    return None
