"""Ends transactions that a crash left in doubt, and says which ones nobody here may end."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event as Flag

from moreton.kernel.arguments import check_duration, check_kind
from moreton.kernel.errors import MoretonError
from moreton.transactions.failpoints import Failpoint
from moreton.transactions.twophase.core.doubts import Decision, Doubt, InDoubt, classify
from moreton.transactions.twophase.core.names import read_name
from moreton.transactions.twophase.decisions import Decided, DecisionLog
from moreton.transactions.twophase.errors import DecidedOtherwise, UnknownBranch
from moreton.transactions.twophase.participant import Fate, Participant

# A coordinator decides milliseconds after it has prepared; a busy one, after a second.
GRACE = timedelta(seconds=2)
EVERY = timedelta(seconds=1)
_ALARM_EVERY = timedelta(minutes=1)
_LOG = logging.getLogger("moreton.transactions")

_aborting = Failpoint("twophase.resolver.abort")
_ending = Failpoint("twophase.resolver.end")
_ended = Failpoint("twophase.resolver.ended")


@dataclass(frozen=True, slots=True)
class Report:
    """What one look found.

    *ended*: in doubt, and carried out now; *waiting*: a coordinator may be at them; *orphans*:
    prepared by nobody that this log knows, a person has to decide; *torn*: decided to commit, and
    rolled back by somebody at a participant; *unreachable*: participants that did not answer, and
    why.
    """

    ended: tuple[InDoubt, ...] = ()
    waiting: tuple[InDoubt, ...] = ()
    orphans: tuple[InDoubt, ...] = ()
    torn: tuple[tuple[str, str], ...] = ()
    unreachable: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is left in doubt, as far as anybody can see."""
        return not (self.waiting or self.orphans or self.torn or self.unreachable)


class Resolver:
    """Looks at *participants* and does what *log* has decided about what they have prepared.

    What is prepared for *grace* without a decision is rolled back, and its coordinator, should it
    still live, finds that it may not commit. Several may run at once. Orphans are named in the log
    of the program, in `last`, and in the metrics; they are ended by `end_by_hand` alone.
    """

    def __init__(
        self, log: DecisionLog, *participants: Participant, grace: timedelta = GRACE
    ) -> None:
        check_kind("log", log, DecisionLog, "the log of open_decisions('sqlite:///file')")
        check_duration("grace", grace, zero=True)
        self._log = log
        self._participants = {participant.name: participant for participant in participants}
        self._grace = grace
        self._stopping = Flag()
        self._alarmed: dict[str, timedelta] = {}
        self.last = Report()

    @property
    def participants(self) -> list[str]:
        """The names of those that are looked at."""
        return list(self._participants)

    def look(self) -> Report:
        """Everything that is prepared, and what it is; changes nothing."""
        found, unreachable = self._look()
        return Report(
            waiting=tuple(one for one in found if not one.doubt.is_orphan),
            orphans=tuple(one for one in found if one.doubt.is_orphan),
            unreachable=unreachable,
        )

    def resolve(self) -> Report:
        """End what can be ended, once."""
        found, unreachable = self._look()
        ended: list[InDoubt] = []
        waiting: list[InDoubt] = []
        for one in found:
            if one.doubt.is_orphan:
                continue
            try:
                done = self._end(one)
            except MoretonError as error:
                unreachable[one.prepared.participant] = str(error)
                done = False
            (ended if done else waiting).append(one)
        torn = self._tidy(unreachable)
        orphans = tuple(one for one in found if one.doubt.is_orphan)
        self.last = Report(tuple(ended), tuple(waiting), orphans, torn, unreachable)
        self._alarm(self.last)
        return self.last

    def end_by_hand(self, gid: str, decision: Decision, *, force: bool = False) -> list[str]:
        """Commit or roll back what is prepared as *gid*; at which participants it was.

        A person takes the blame for an orphan. One of this log's own is decided in the log first,
        so that all of its participants follow; raises `DecidedOtherwise` against a decision, unless
        *force*: then this part alone is ended so, and the transaction is torn.
        """
        name = read_name(gid)
        if name is not None and name.log_id == self._log.log_id:
            decided = self._decide_by_hand(name.transaction_id, decision)
            if decided is not decision and not force:
                raise DecidedOtherwise(gid=gid, decision=str(decided))
        where = [
            participant.name
            for participant in self._participants.values()
            if _end_at(participant, gid, decision)
        ]
        if not where:
            raise UnknownBranch(gid=gid)
        return where

    def serve(self, every: timedelta = EVERY) -> None:
        """Resolve at once, and again and again until `stop`; a fault is logged and passed over."""
        check_duration("every", every)
        while True:
            try:
                self.resolve()
            except Exception:  # noqa: BLE001 - a fault of one round must not end all
                _LOG.exception("transactions in doubt could not be looked at: trying again")
            if self._stopping.wait(every.total_seconds()):
                return

    def stop(self) -> None:
        """End `serve` after the round under way."""
        self._stopping.set()

    def _look(self) -> tuple[list[InDoubt], dict[str, str]]:
        unreachable: dict[str, str] = {}
        prepared = []
        for name, participant in self._participants.items():
            try:
                prepared += participant.prepared()
            except MoretonError as error:
                unreachable[name] = str(error)
        made = [one for one in (read_name(each.gid) for each in prepared) if one is not None]
        ours = [one.transaction_id for one in made if one.log_id == self._log.log_id]
        # Asked after the participants: a decision made meanwhile is seen.
        decisions = {key: one.decision for key, one in self._log.find(ours).items()}
        found = classify(prepared, decisions, log_id=self._log.log_id, grace=self._grace)
        return found, unreachable

    def _end(self, one: InDoubt) -> bool:
        """Carry out what is decided about *one*, or give it up; whether it has ended."""
        doubt, name = one.doubt, one.name
        assert name is not None
        if doubt is Doubt.UNDECIDED:
            return False
        if doubt is Doubt.ABANDONED:
            _aborting()
            decision = self._log.abort(name.transaction_id)
        else:
            decision = Decision.COMMIT if doubt is Doubt.COMMITTED else Decision.ABORT
        _ending()
        _end_at(self._participants[one.prepared.participant], one.prepared.gid, decision)
        _ended()
        _LOG.info(
            "%s was in doubt at %s for %.1f s: %s",
            one.prepared.gid, one.prepared.participant, one.prepared.age.total_seconds(),
            "committed" if decision is Decision.COMMIT else "rolled back",
        )  # fmt: skip
        return True

    def _tidy(self, unreachable: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """Remove decisions that all participants have carried out; those that one has not, ever."""
        torn: list[tuple[str, str]] = []
        done = []
        for decided in self._log.commits(older_than=self._grace):
            fates = self._fates(decided, unreachable)
            torn += [
                (self._gid(decided, name), name)
                for name, fate in fates.items()
                if fate is Fate.ABORTED
            ]
            if self._is_carried_out(decided, fates, unreachable):
                done.append(decided.transaction_id)
        self._log.forget(done)
        self._log.forget_aborts()
        return tuple(torn)

    def _is_carried_out(
        self, decided: Decided, fates: Mapping[str, Fate], unreachable: Mapping[str, str]
    ) -> bool:
        if not decided.marks:
            # A person's: who takes part is written nowhere, and may be away.
            return not unreachable and self._log.is_old(decided)
        known = fates.keys() == decided.marks.keys()
        return known and all(fate in {Fate.COMMITTED, Fate.UNKNOWN} for fate in fates.values())

    def _fates(self, decided: Decided, unreachable: Mapping[str, str]) -> dict[str, Fate]:
        fates = {}
        for name, mark in decided.marks.items():
            participant = self._participants.get(name)
            if participant is None or name in unreachable:
                continue
            gid = self._gid(decided, name)
            try:
                fates[name] = participant.fates({gid: mark})[gid]
            except MoretonError:
                continue
        return fates

    def _decide_by_hand(self, transaction_id: str, decision: Decision) -> Decision:
        if decision is Decision.ABORT:
            return self._log.abort(transaction_id, by_hand="moreton indoubt resolve")
        return self._log.commit(transaction_id, {})

    def _gid(self, decided: Decided, branch: str) -> str:
        return f"moreton:{self._log.log_id}:{decided.transaction_id}:{branch}"

    def _alarm(self, report: Report) -> None:
        """Say once, and again every minute, what only a person can end."""
        held = {one.prepared.gid: one for one in report.orphans}
        self._alarmed = {gid: age for gid, age in self._alarmed.items() if gid in held}
        for gid, one in held.items():
            before = self._alarmed.get(gid)
            if before is not None and one.prepared.age - before < _ALARM_EVERY:
                continue
            self._alarmed[gid] = one.prepared.age
            _LOG.error(
                "orphan: %s prepared %r %.0f s ago, which this log knows nothing of; it holds "
                "locks, and old rows: end it with `moreton indoubt resolve`",
                one.prepared.participant, gid, one.prepared.age.total_seconds(),
            )  # fmt: skip
        for gid, participant in report.torn:
            _LOG.error(
                "torn: %r was decided to commit, and somebody rolled it back at %s: "
                "put its effect there by hand, then remove the decision",
                gid, participant,
            )  # fmt: skip


def _end_at(participant: Participant, gid: str, decision: Decision) -> bool:
    if decision is Decision.COMMIT:
        return participant.commit(gid)
    return participant.rollback(gid)
