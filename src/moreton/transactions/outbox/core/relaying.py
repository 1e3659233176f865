"""The life of a relay: holds the lease, reads what is unsent, publishes, marks it sent.

One batch is under way at a time and the next is read when the last one is marked, from the oldest
unsent event on: there is no position to remember, so that no event of a transaction that commits
late is passed over, and every relay publishes the events of a key in order, whoever it is. What may
have been published and is not marked is published again: a consumer's inbox knows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias, assert_never

from moreton.kernel.time import Instant
from moreton.transactions.outbox.core.event import EVENT_BYTES_MAX, batch
from moreton.transactions.outbox.core.tenure import Seen, Tenure

# One message: the peak of throughput is flat from some 200 events on.
BATCH_EVENTS_MAX = 500
BATCH_BYTES_MAX = EVENT_BYTES_MAX
# Messages below that are worth a wait, also of a machine that is slow: fewer messages spare it 5 %.
LINGER_EVENTS = 100
_FAILURES_COUNTED = 16
# By which idle waits grow, beside their doubling.
_IDLE_STEP = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Row:
    """An unsent event as it is stored."""

    position: int
    text: str


@dataclass(frozen=True, slots=True)
class Told:
    """What a relay waits for: *retry* after a failure, doubling up to *retry_max*.

    *linger* after a message of few events before it is marked and the next is read, so that fewer
    and larger ones follow. Idle, it looks after *linger*, then less and less often, down to every
    *poll*: what is told steadily has gaps in which there is nothing for a moment.
    """

    linger: timedelta = timedelta(milliseconds=2)
    poll: timedelta = timedelta(milliseconds=20)
    retry: timedelta = timedelta(milliseconds=50)
    retry_max: timedelta = timedelta(seconds=5)
    prune: timedelta = timedelta(seconds=10)


# Events.
@dataclass(frozen=True, slots=True)
class LeaseSeen:
    """How the lease stood."""

    seen: Seen


@dataclass(frozen=True, slots=True)
class LeaseTaken:
    """It is ours now."""

    token: int


@dataclass(frozen=True, slots=True)
class Fenced:
    """A write under our token was refused, or taking the lease was."""


@dataclass(frozen=True, slots=True)
class RowsRead:
    """What is unsent, oldest first."""

    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Published:
    """The broker has them on its disk."""

    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Marked:
    """They are marked under our token; *rows* are unsent next, oldest first."""

    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Done:
    """A write under our token succeeded."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was sent long ago is deleted; *more*: not all of it yet."""

    more: bool


@dataclass(frozen=True, slots=True)
class Rang:
    """Somebody committed events."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The database or the broker did not do what was asked, or did and could not say so."""


Happened: TypeAlias = (
    LeaseSeen | LeaseTaken | Fenced | RowsRead | Published | Marked | Done | Pruned | Rang | Failed
)


# Effects: each is answered by one event.
@dataclass(frozen=True, slots=True)
class Look:
    """Read the lease."""


@dataclass(frozen=True, slots=True)
class Take:
    """Take the lease if it is as it was seen."""

    seen: Seen


@dataclass(frozen=True, slots=True)
class Read:
    """Read what is unsent."""

    limit: int


@dataclass(frozen=True, slots=True)
class Publish:
    """Send a message, and wait until the broker has it on its disk."""

    rows: Sequence[Row]
    body: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """Say that *rows* are sent, and read what is unsent next: one trip to the database."""

    token: int
    rows: Sequence[Row]
    limit: int


@dataclass(frozen=True, slots=True)
class Beat:
    """Say that we live."""

    token: int


@dataclass(frozen=True, slots=True)
class Prune:
    """Delete what was sent long ago."""

    token: int


Effect: TypeAlias = Look | Take | Read | Publish | Mark | Beat | Prune


class RelayMachine:
    """A relay, by the one shape; its host performs one effect at a time."""

    def __init__(self, tenure: Tenure, told: Told | None = None) -> None:
        self._tenure = tenure
        self._told = told or Told()
        self._failures = 0
        self._next = Instant(0)
        self._prune = Instant(0)
        self._busy = False
        self._rang = False
        self._sent: Sequence[Row] = ()
        self._idle = self._told.linger

    @property
    def leads(self) -> bool:
        """Whether the lease is thought to be ours."""
        return self._tenure.token is not None

    def deadline(self) -> Instant | None:
        """When to look, read, beat or prune next; `None` while an effect is under way."""
        if self._busy:
            return None
        if self._tenure.token is None:
            return max(self._tenure.due, self._next)
        return max(min(self._tenure.due, self._next, self._prune), self._held_until())

    def wake(self, now: Instant) -> Sequence[Effect]:
        """What is due by *now*."""
        due = self.deadline()
        if due is None or due > now:
            return ()
        token = self._tenure.token
        if token is None:
            return self._do(Look())
        if self._tenure.due <= now:
            return self._do(Beat(token))
        if self._sent:
            return self._mark()
        if self._prune <= now:
            self._prune = now + self._told.prune
            return self._do(Prune(token))
        return self._do(Read(BATCH_EVENTS_MAX))

    def left(self) -> Sequence[Effect]:
        """What is to be done before it ends: what it published is to be marked."""
        return self._mark() if self._sent else ()

    def handle(self, event: Happened, now: Instant) -> Sequence[Effect]:  # noqa: PLR0911 - a table
        """What follows from *event*."""
        if isinstance(event, Rang):
            return self._on_rang(now)
        self._busy = False
        match event:
            case LeaseSeen(seen):
                return self._do(Take(seen)) if self._tenure.saw(seen, now) else ()
            case LeaseTaken(token):
                self._tenure.took(token, now)
                return self._do(Read(BATCH_EVENTS_MAX))
            case Fenced():
                self._tenure.lost(now)
                self._sent = ()
                # Who takes it from us beats; looking faster than that sees nothing new.
                self._next = now + self._told.retry
                return ()
            case RowsRead(rows):
                return self._on_rows(rows, now)
            case Published(rows):
                return self._on_published(rows, now)
            case Marked(rows):
                return self._on_marked(rows, now)
            case Done():
                self._failures = 0
                self._tenure.confirmed(now)
                return ()
            case Pruned(more):
                self._failures = 0
                self._tenure.confirmed(now)
                self._next = now
                if more:
                    # Between them what waits is sent.
                    self._prune = now + self._told.poll
                return ()
            case Failed():
                return self._on_failure(now)
            case _:
                assert_never(event)

    def _on_rang(self, now: Instant) -> Sequence[Effect]:
        if self._busy or self._tenure.token is None or self._held_until() > now:
            self._rang = True
            return ()
        if self._sent:
            return ()  # marking it reads what follows
        return self._do(Read(BATCH_EVENTS_MAX))

    def _on_rows(self, rows: Sequence[Row], now: Instant) -> Sequence[Effect]:
        if self._tenure.token is None:
            return ()
        if not rows:
            self._failures = 0
            wait = min(self._idle, self._told.poll)
            self._next = now if self._rang else now + wait
            self._idle = 2 * wait + _IDLE_STEP
            self._rang = False
            return ()
        self._rang = False
        self._idle = self._told.linger
        fitting = first_fitting(rows)
        return self._do(Publish(fitting, batch([row.text for row in fitting])))

    def _on_published(self, rows: Sequence[Row], now: Instant) -> Sequence[Effect]:
        self._sent = rows
        if len(rows) < LINGER_EVENTS:
            self._next = now + self._told.linger
            return ()
        return self._mark()

    def _on_marked(self, rows: Sequence[Row], now: Instant) -> Sequence[Effect]:
        self._sent = ()
        self._failures = 0
        self._tenure.confirmed(now)
        if self._prune <= now:
            # Under load nothing else would ever come before the next rows.
            self._next = now
            return ()
        return self._on_rows(rows, now)

    def _mark(self) -> Sequence[Effect]:
        token = self._tenure.token
        return () if token is None else self._do(Mark(token, self._sent, BATCH_EVENTS_MAX))

    def _on_failure(self, now: Instant) -> Sequence[Effect]:
        self._failures = min(self._failures + 1, _FAILURES_COUNTED)
        wait = min(self._told.retry * 2 ** (self._failures - 1), self._told.retry_max)
        self._next = now + wait
        return ()

    def _held_until(self) -> Instant:
        """After a failure nothing is tried before its time."""
        return self._next if self._failures else Instant(0)

    def _do(self, effect: Effect) -> Sequence[Effect]:
        self._busy = True
        return (effect,)


def first_fitting(rows: Sequence[Row], bytes_max: int = BATCH_BYTES_MAX) -> Sequence[Row]:
    """As many of the first *rows* as one message holds; one at least."""
    total = 0
    for count, row in enumerate(rows):
        total += len(row.text.encode()) + 1
        if total > bytes_max and count:
            return rows[:count]
    return rows
