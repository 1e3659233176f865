"""The transactions of an inbox: what arrived is handled once, or set aside."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Iterator, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby

from moreton.kernel.errors import MoretonError
from moreton.kernel.rng import system_rng
from moreton.kernel.time import Instant, SystemClock
from moreton.transactions.databases.errors import DatabaseUnavailable
from moreton.transactions.failpoints import Failpoint
from moreton.transactions.measuring import listeners, measure
from moreton.transactions.outbox.core.deciding import Handle, SetAside, Step, plan
from moreton.transactions.outbox.core.event import Arrived, Event, NotAnEvent, decode, sayable
from moreton.transactions.outbox.core.tenure import Seen
from moreton.transactions.outbox.errors import EventRejected
from moreton.transactions.outbox.inbox import Inbox
from moreton.transactions.outbox.places import Place, Work
from moreton.transactions.outbox.tables import incoming, leases
from moreton.transactions.outbox.tables.incoming import Aside, Reached
from moreton.transactions.outbox.tables.schema import inbox_schema, install
from moreton.transactions.outbox.tables.script import Statement
from moreton.transactions.outbox.watching import arrived, processing

ASIDE_POLL = timedelta(milliseconds=100)
_FORGET_EVERY = timedelta(seconds=30)
_REASON_CHARS_MAX = 2000

_TAKEN = Failpoint("inbox.lease-taken")
_RECORDED, _HANDLED = Failpoint("inbox.recorded"), Failpoint("inbox.handled")
_COMMITTED = Failpoint("inbox.committed")
_SETTING_ASIDE, _SET_ASIDE = Failpoint("inbox.setting-aside"), Failpoint("inbox.set-aside")
_RETRYING, _RETRIED = Failpoint("inbox.retrying"), Failpoint("inbox.retried")
_FAILING, _FAILED = Failpoint("inbox.failing-again"), Failpoint("inbox.failed-again")
_FORGETTING, _FORGOTTEN = Failpoint("inbox.forgetting"), Failpoint("inbox.forgotten")


class Fenced(Exception):
    """Another consumer has the lease: nothing was done."""


class HandlerFailed(Exception):
    """The handler of *event* raised, which is the cause."""

    def __init__(self, event: Event) -> None:
        super().__init__(event)
        self.event = event


@dataclass(slots=True)
class Batch:
    """What arrived, in order, and how far each topic is read with it."""

    arrived: list[Arrived] = field(default_factory=list)
    reached: dict[str, Reached] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a consumer did so far."""

    leads: bool
    handled: int
    duplicates: int
    set_aside: int
    dead: int
    fenced: int


class Handling:
    """The work of a consumer's thread; every transaction is fenced by the lease's token."""

    def __init__(self, inbox: Inbox, place: Place, *, ttl: timedelta, remember: timedelta) -> None:
        self._inbox = inbox
        self._place = place
        self._ttl = ttl
        self._remember = remember
        self._lease = f"inbox:{inbox.consumer}"
        self._rng = system_rng()
        self._clock = SystemClock()
        self._installed = False
        self._runner = asyncio.Runner()  # of the thread's own
        self.aside_at = self._forget_at = Instant(0)
        self.aside_poll = ASIDE_POLL
        self.handled = self.duplicates = self.set_aside = self.dead = self.fenced = 0

    def statistics(self, *, leads: bool) -> Statistics:
        """What was done so far."""
        return Statistics(
            leads, self.handled, self.duplicates, self.set_aside, self.dead, self.fenced
        )

    def look(self) -> Seen:
        """How the lease stands."""
        if not self._installed:
            dialect = self._place.dialect
            self._place.run(install(dialect, inbox_schema(dialect)))
            self._installed = True
        return self._place.ask(leases.look(self._lease))

    def take(self, seen: Seen, holder: str) -> int | None:
        """Take the lease; its token."""
        token = self._place.ask(leases.take(self._lease, holder, seen))
        _TAKEN()
        return token

    def release(self, token: int) -> None:
        """Let the next one have it."""
        self._place.ask(leases.release(self._lease, token))

    def close(self) -> None:
        """Let go of the database."""
        self._runner.close()
        self._place.close()

    def reached(self) -> dict[str, Reached]:
        """How far each topic was read."""
        return self._place.ask(incoming.places(self._inbox.consumer))

    def apply(self, token: int, batch: Batch) -> None:
        """Handle *batch* in one transaction; if that fails, each event in one of its own.

        Raises `Fenced` and `DatabaseUnavailable`, when nothing more of it was done.
        """
        if not batch.arrived:
            # A beat, and how far we are.
            self._transact(token, [], batch.reached)
            return
        try:
            self._transact(token, batch.arrived, batch.reached)
        except HandlerFailed:
            self._one_by_one(token, batch)

    def aside(self, token: int, now: Instant) -> tuple[int, int]:
        """Try what is due of the events set aside; how many are dead, how many there are."""
        consumer = self._inbox.consumer
        total, dead = self._place.ask(incoming.counts(consumer))
        if total > dead:
            while due := self._place.ask(incoming.due(self._place.dialect, consumer)):
                for one in due:
                    self._again(token, one)
            total, dead = self._place.ask(incoming.counts(consumer))
        if now >= self._forget_at:
            more = self._forget(token)
            self._forget_at = now if more else now + _FORGET_EVERY
        self.aside_at = now + self.aside_poll
        return dead, total

    def _fence(self, token: int) -> Statement:
        return leases.fence(self._place.dialect, self._lease, token, self._ttl)

    def _transact(
        self, token: int, arrived: Sequence[Arrived], reached: dict[str, Reached]
    ) -> None:
        inbox, dialect = self._inbox, self._place.dialect
        with self._blaming(arrived), self._place.begin() as work:
            known = work.run(
                incoming.arrive(dialect, inbox.consumer, self._fence(token), arrived, reached)
            )
            if not known.ours:
                raise Fenced
            steps = plan(arrived, fresh=known.fresh, held=known.held, interest=inbox.interest)
            if arrived:
                _RECORDED()
            asides = self._perform(work, steps)
            if arrived:
                _HANDLED()
            if asides:
                _SETTING_ASIDE()
        if arrived:
            _COMMITTED()
        if asides:
            _SET_ASIDE()
        self._count(arrived, steps, asides)

    @contextlib.contextmanager
    def _blaming(self, arrived: Sequence[Arrived]) -> Iterator[None]:
        """A commit that the database refuses, by a deferred constraint, is a handler's failure."""
        try:
            yield
        except (Fenced, HandlerFailed, MoretonError, _NobodyHandles):
            raise
        except Exception as error:
            event = next((one for one in arrived if isinstance(one, Event)), None)
            if event is None:
                raise
            raise HandlerFailed(event) from error

    def _perform(self, work: Work, steps: Sequence[Step]) -> list[SetAside]:
        asides = [step for step in steps if isinstance(step, SetAside)]
        events = [step.event for step in steps if isinstance(step, Handle)]
        for type_, group in groupby(events, key=lambda event: event.type):
            self._call(work, type_, list(group))
        if asides:
            work.run(incoming.set_aside(self._place.dialect, self._inbox.consumer, asides))
        return asides

    def _call(self, work: Work, type_: str, events: list[Event]) -> None:
        handler = self._inbox.handler(type_)
        for given in [events] if handler.many else events:
            try:
                listed = given if isinstance(given, list) else [given]
                with processing(self._inbox.consumer, listed):
                    result = handler.call(given, work.given)
                    if inspect.iscoroutine(result):
                        # A runner's own context does not know of the span here.
                        self._runner.run(result, context=copy_context())
            except Exception as error:
                first = given[0] if isinstance(given, list) else given
                raise HandlerFailed(first) from error

    def _count(
        self, came: Sequence[Arrived], steps: Sequence[Step], asides: Sequence[SetAside]
    ) -> None:
        handled, known = len(steps) - len(asides), len(came) - len(steps)
        dead = sum(step.dead for step in asides)
        self.handled += handled
        self.duplicates += known
        self.set_aside += len(asides)
        self.dead += dead
        if came and listeners:
            arrived(
                self._inbox.consumer, came, self._clock,
                handled=handled, known=known, set_aside=len(asides) - dead, dead=dead,
            )  # fmt: skip

    def _one_by_one(self, token: int, batch: Batch) -> None:
        for one in batch.arrived:
            try:
                self._transact(token, [one], {})
            except HandlerFailed as failure:
                self._on_failure(token, failure)
        self._transact(token, [], batch.reached)

    def _on_failure(self, token: int, failure: HandlerFailed) -> None:
        """Record *failure* in a transaction without the handler's work."""
        step = self._decide(failure.event, 1, failure)
        inbox, dialect = self._inbox, self._place.dialect
        with self._place.begin() as work:
            known = work.run(
                incoming.arrive(dialect, inbox.consumer, self._fence(token), [failure.event], {})
            )
            if not known.ours:
                raise Fenced
            if known.fresh:
                work.run(incoming.set_aside(dialect, inbox.consumer, [step]))
            _SETTING_ASIDE()
        _SET_ASIDE()
        self._count([failure.event], [step], [step])
        self.aside_at = Instant(0)

    def _decide(self, event: Event, attempts: int, failure: HandlerFailed) -> SetAside:
        cause = failure.__cause__
        assert cause is not None, "raised from what the handler raised"
        if isinstance(cause, DatabaseUnavailable) or not self._place.works():
            # Not the event's fault.
            reason = f"it failed under the handler of {event.type}, {cause}"
            raise DatabaseUnavailable(database=self._place.name, reason=reason) from cause
        return self._inbox.patience.after(
            event,
            attempts,
            sayable(f"{type(cause).__name__}: {cause}"[:_REASON_CHARS_MAX]),
            final=isinstance(cause, EventRejected),
            on_dead=self._inbox.on_dead,
            rng=self._rng,
        )

    def _again(self, token: int, one: Aside) -> None:
        """Handle an event that was set aside, in a transaction that also takes it from there."""
        event = decode(one.text)
        try:
            with self._blaming([event]), self._place.begin() as work:
                ours, there = work.run(incoming.claim(self._fence(token), one.number))
                if not ours:
                    raise Fenced
                if there:
                    self._handle_again(work, event)
                _RETRYING()
            _RETRIED()
            self.handled += there
            if there:
                measure("moreton_inbox_events", consumer=self._inbox.consumer, outcome="handled")
        except HandlerFailed as failure:
            step = self._decide(failure.event, one.attempts + 1, failure)
            self._still_aside(token, one, step)
        except _NobodyHandles as error:
            self._still_aside(token, one, SetAside(event, str(error), dead=True, holds=False))

    def _handle_again(self, work: Work, event: Arrived) -> None:
        if isinstance(event, NotAnEvent):
            raise _NobodyHandles(f"it is no event: {event.reason}")
        if event.type not in self._inbox.interest.handled:
            raise _NobodyHandles(f"no handler for {event.type}: add one and replay it")
        self._call(work, event.type, [event])

    def _still_aside(self, token: int, one: Aside, step: SetAside) -> None:
        dialect = self._place.dialect
        with self._place.begin() as work:
            ours = work.run(
                incoming.failed_again(
                    dialect, self._fence(token), one.number, one.attempts + 1, step
                )
            )
            _FAILING()
        _FAILED()
        if not ours:
            raise Fenced
        self.dead += step.dead
        if step.dead:
            measure("moreton_inbox_events", consumer=self._inbox.consumer, outcome="dead")

    def _forget(self, token: int) -> bool:
        """Delete some of what was handled long ago; whether there may be more."""
        dialect, consumer = self._place.dialect, self._inbox.consumer
        with self._place.begin() as work:
            count = work.run(incoming.forget(dialect, consumer, self._fence(token), self._remember))
            _FORGETTING()
        _FORGOTTEN()
        if count is None:
            raise Fenced
        return count >= incoming.FORGET_ROWS_MAX


class _NobodyHandles(Exception):
    """An event set aside that has no handler, still."""
