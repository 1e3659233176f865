"""One TCC transaction as a machine: answers and the time go in, calls and decisions come out.

    trying ──all done──▶ confirming ──all confirmed──▶ confirmed
       └─refused, unknown, expired──▶ cancelling ──all undone──▶ cancelled

The decision is not the machine's: it asks for one, and the log says which one it was, as another
process may have decided before. Nothing is confirmed or undone before that is on disk. Recovery is
making the machine anew from its record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from moreton.kernel.time import Instant
from moreton.transactions.barrier.call import Act


class State(StrEnum):
    """How far a transaction is."""

    TRYING = "trying"
    CONFIRMING = "confirming"
    CANCELLING = "cancelling"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"

    @property
    def is_decided(self) -> bool:
        """Whether there is no way back."""
        return self is not State.TRYING

    @property
    def is_final(self) -> bool:
        """Whether nothing is left to do."""
        return self in {State.CONFIRMED, State.CANCELLED}


class Reply(StrEnum):
    """What a participant answered; *unknown*: nothing that says whether it acted."""

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answered:
    """*branch* answered to *act*; *why* says what was wrong."""

    branch: str
    act: Act
    reply: Reply
    why: str = ""


@dataclass(frozen=True, slots=True)
class Decided:
    """The log has *state*, on disk."""

    state: State


Event = Answered | Decided


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask *branches*, all at once, to *act*."""

    act: Act
    branches: Sequence[str]


@dataclass(frozen=True, slots=True)
class Decide:
    """Write the decision, unless there is one; then tell which it is, as `Decided`."""

    wanted: State


@dataclass(frozen=True, slots=True)
class Note:
    """Keep which branches are still to do what was decided, and what the last one said."""

    pending: Sequence[str]
    trouble: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class End:
    """Everything was done: the record says so."""

    state: State


Effect = Ask | Decide | Note | End


class Tcc:
    """A transaction of *branches* that is cancelled unless it was decided by *expires*."""

    def __init__(
        self,
        branches: Iterable[str],
        expires: Instant,
        *,
        state: State = State.TRYING,
        pending: Iterable[str] | None = None,
    ) -> None:
        self._branches = tuple(branches)
        self._expires = expires
        self.state = state
        self.pending = tuple(self._branches if pending is None else pending)
        # Why it was cancelled, and what keeps the decision from being carried out.
        self.reasons: dict[str, str] = {}
        self.trouble: dict[str, str] = {}
        self._waiting: set[str] = set()
        self._deciding = False

    @property
    def is_at_rest(self) -> bool:
        """Whether it is decided, and nobody's answer is awaited."""
        return self.state.is_decided and not self._waiting

    def start(self, now: Instant) -> Sequence[Effect]:
        """Begin, or go on after a restart: with what was decided, or by cancelling.

        What was being tried when a process died is taken up once it has expired; its answers are
        gone, so that nothing else is left.
        """
        if self.state.is_final:
            return ()
        if self.state.is_decided:
            return self._carry_out()
        return self.wake(now) or self._ask(Act.DO, self._branches)

    def handle(self, event: Event, now: Instant) -> Sequence[Effect]:
        """As `Machine.handle`; what comes twice or too late changes nothing."""
        match event:
            case Decided(state):
                return self._decided(state)
            case Answered():
                return self._answered(event, now)
            case _:
                assert_never(event)

    def wake(self, now: Instant) -> Sequence[Effect]:
        """As `Machine.wake`."""
        if self.state is State.TRYING and not self._deciding and now >= self._expires:
            self.reasons[""] = "it expired"
            return self._decide(State.CANCELLING)
        return ()

    def deadline(self) -> Instant | None:
        """As `Machine.deadline`."""
        is_open = self.state is State.TRYING and not self._deciding
        return self._expires if is_open else None

    def _answered(self, answer: Answered, now: Instant) -> Sequence[Effect]:
        if answer.act is not self._act() or answer.branch not in self._waiting:
            return ()
        self._waiting.discard(answer.branch)
        if self.state is State.TRYING:
            return self._tried(answer, now)
        if answer.reply is not Reply.DONE:
            self.trouble[answer.branch] = answer.why or str(answer.reply)
        else:
            self.trouble.pop(answer.branch, None)
            self.pending = tuple(name for name in self.pending if name != answer.branch)
        if self._waiting:
            return ()
        if self.pending:
            return (Note(self.pending, {**self.reasons, **self.trouble}),)
        confirmed = self.state is State.CONFIRMING
        self.state = State.CONFIRMED if confirmed else State.CANCELLED
        return (End(self.state),)

    def _tried(self, answer: Answered, now: Instant) -> Sequence[Effect]:
        if self._deciding:
            return ()
        if answer.reply is not Reply.DONE:
            self.reasons[answer.branch] = answer.why or str(answer.reply)
            return self._decide(State.CANCELLING)
        if self._waiting:
            return ()
        return self.wake(now) or self._decide(State.CONFIRMING)

    def _decide(self, wanted: State) -> Sequence[Effect]:
        self._deciding = True
        return (Decide(wanted),)

    def _decided(self, state: State) -> Sequence[Effect]:
        if self.state is not State.TRYING:
            return ()
        self.state = state
        return () if state.is_final else self._carry_out()

    def _carry_out(self) -> Sequence[Effect]:
        return self._ask(self._act(), self.pending)

    def _ask(self, act: Act, branches: Sequence[str]) -> Sequence[Effect]:
        self._waiting = set(branches)
        return (Ask(act, branches),)

    def _act(self) -> Act:
        if self.state is State.TRYING:
            return Act.DO
        return Act.CONFIRM if self.state is State.CONFIRMING else Act.UNDO
