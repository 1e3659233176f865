"""Moves events from an outbox to a broker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import assert_never
from uuid import uuid4

from moreton.kernel.arguments import check_duration, check_kind
from moreton.kernel.errors import MoretonError
from moreton.kernel.time import Clock, SystemClock
from moreton.transactions import measuring
from moreton.transactions.failpoints import Failpoint
from moreton.transactions.outbox.brokers import Broker, open_broker
from moreton.transactions.outbox.core import relaying as core
from moreton.transactions.outbox.core.tenure import Tenure
from moreton.transactions.outbox.outbox import Outbox
from moreton.transactions.outbox.places import UNUSABLE, Place, open_place
from moreton.transactions.outbox.tables import leases, outgoing
from moreton.transactions.outbox.tables.schema import install
from moreton.transactions.outbox.tables.script import Statement
from moreton.transactions.outbox.watching import sending
from moreton.transactions.running import Blocking
from moreton.transactions.signal import Signal

_LOG = logging.getLogger(__name__)
TTL = timedelta(seconds=5)
KEEP = timedelta(hours=1)

_TAKEN = Failpoint("relay.lease-taken")
_READ, _PUBLISHED = Failpoint("relay.read"), Failpoint("relay.published")
_MARKING, _MARKED = Failpoint("relay.marking"), Failpoint("relay.marked")
_PRUNING, _PRUNED = Failpoint("relay.pruning"), Failpoint("relay.pruned")


@dataclass(frozen=True, slots=True)
class RelayStatistics:
    """What a relay did so far."""

    leads: bool
    events: int
    messages: int
    failures: int
    fenced: int


class Relay:
    """The relay of *outbox* in *database* to *broker*: addresses, or what they open.

    Run as many as you like: one works, the others take over within *ttl* of its death. Events are
    published in the order of their positions, again when it is not known whether they arrived,
    and stay in the table for *keep* after that, so that a broker which lost them can be sent them
    again; with `timedelta(0)` they are deleted at once. A database that cannot be used at the start
    is an error; one that goes away later, and a broker that is away, are waited for.
    """

    def __init__(
        self,
        outbox: Outbox,
        *,
        database: str | Place,
        broker: str | Broker,
        keep: timedelta = KEEP,
        ttl: timedelta = TTL,
        told: core.Told | None = None,
        clock: Clock | None = None,
    ) -> None:
        check_kind("outbox", outbox, Outbox, "an Outbox")
        check_duration("keep", keep, zero=True)
        check_duration("ttl", ttl)
        self._outbox = outbox
        self._place = open_place(database)
        self._broker = open_broker(broker)
        self._keep = keep
        self._clock = clock or SystemClock()
        self._tenure = Tenure(ttl)
        self._machine = core.RelayMachine(self._tenure, told)
        self._holder = uuid4().hex
        self._lease = f"relay:{outbox.table}"
        self._installed = False
        self._attempts = 0
        self._events = self._messages = self._failures = self._fenced = 0
        self._failing = ""
        self._rang = Signal()
        self._stopping = self._worked = False
        self._blocking = Blocking("moreton-relay")

    def run(self) -> None:
        """Work until SIGTERM or SIGINT; finishes the message under way."""
        self._blocking.run(self.serve, self.stop)

    async def serve(self) -> None:
        """Work until `stop`, or until cancelled."""
        await self._try_broker()
        hearing = asyncio.create_task(self._hear())
        try:
            while not self._stopping:
                await self._step()
            await self._follow(self._machine.left())
        finally:
            hearing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await hearing
            await self._end()

    def stop(self) -> None:
        """End `serve` after the message under way."""
        self._stopping = True
        self._rang.set()

    def ring(self) -> None:
        """Events were committed: look now instead of at the next poll. On the loop's thread."""
        self._rang.set()

    def statistics(self) -> RelayStatistics:
        """What was done so far."""
        return RelayStatistics(
            self._machine.leads, self._events, self._messages, self._failures, self._fenced
        )

    async def _try_broker(self) -> None:
        """Say at once, not with the first event, that it cannot be reached."""
        try:
            await self._broker.extent(self._outbox.topic)
        except MoretonError as error:
            self._say_waits(error)

    async def _hear(self) -> None:
        try:
            while True:
                await self._place.hear()
                self._rang.set()
        finally:
            await self._place.stop_hearing()

    async def _step(self) -> None:
        effects = self._machine.wake(self._clock.now())
        await self._follow(effects or await self._wait())

    async def _follow(self, effects: Sequence[core.Effect]) -> None:
        """Perform *effects* and what follows from them; when stopping, nothing is sent any more."""
        while effects:
            (effect,) = effects
            if self._stopping and isinstance(effect, core.Publish):
                return
            event = await self._perform(effect)
            if isinstance(event, core.Fenced):
                self._fenced += 1
                measuring.measure("moreton_outbox_fenced", topic=self._outbox.topic)
            effects = self._machine.handle(event, self._clock.now())

    async def _wait(self) -> Sequence[core.Effect]:
        deadline = self._machine.deadline()
        assert deadline is not None, "nothing is under way between two steps"
        seconds = max((deadline - self._clock.now()).total_seconds(), 0)
        if await self._rang.wait(seconds):
            return self._machine.handle(core.Rang(), self._clock.now())
        return ()

    async def _perform(self, effect: core.Effect) -> core.Happened:
        try:
            if isinstance(effect, core.Publish):
                return await self._publish(effect)
            event = await self._blocking.call(self._write, effect)
        except MoretonError as error:
            if not self._worked and isinstance(error, UNUSABLE):
                raise
            self._say_waits(error)
            return core.Failed()
        self._worked = True
        return event

    def _say_waits(self, error: MoretonError) -> None:
        self._failures += 1
        measuring.measure("moreton_outbox_failures", topic=self._outbox.topic)
        if str(error) != self._failing:
            self._failing = str(error)
            _LOG.warning("the relay of %s waits: %s", self._outbox.topic, error)

    async def _publish(self, effect: core.Publish) -> core.Happened:
        _READ()
        self._attempts += 1
        # Never the same twice: a broker that knows an id would swallow what is sent again because
        # it was lost. Repetitions are for inboxes to find.
        name = f"{self._holder}/{self._attempts}"
        with sending(self._outbox.topic, effect.rows):
            await self._broker.publish(self._outbox.topic, effect.body, name)
        _PUBLISHED()
        self._events += len(effect.rows)
        self._messages += 1
        if self._failing:
            self._failing = ""
            _LOG.warning("the relay of %s goes on", self._outbox.topic)
        return core.Published(effect.rows)

    def _write(self, effect: core.Effect) -> core.Happened:
        dialect, table, place = self._place.dialect, self._outbox.table, self._place
        match effect:
            case core.Look():
                if not self._installed:
                    place.run(install(dialect, self._outbox.schema(dialect)))
                    self._installed = True
                return core.LeaseSeen(place.ask(leases.look(self._lease)))
            case core.Take(seen):
                token = place.ask(leases.take(self._lease, self._holder, seen))
                _TAKEN()
                return core.Fenced() if token is None else core.LeaseTaken(token)
            case core.Read(limit):
                return core.RowsRead(place.ask(outgoing.unsent(table, limit)))
            case core.Beat(token):
                return _answer(place.ask(leases.beat(dialect, self._lease, token, self._ttl)))
            case core.Mark(token, rows, limit):
                return self._mark(token, rows, limit)
            case core.Prune(token):
                return self._prune(token)
            case core.Publish():
                raise AssertionError("published by the loop")
            case _:
                assert_never(effect)

    def _mark(self, token: int, rows: Sequence[core.Row], limit: int) -> core.Happened:
        positions = [row.position for row in rows]
        keep = bool(self._keep)
        dialect, table = self._place.dialect, self._outbox.table
        _MARKING()
        # In PostgreSQL it is one statement.
        run = self._place.ask if dialect.is_postgres else self._place.run
        fence = self._fence(token)
        found = run(outgoing.mark(dialect, table, fence, positions, keep=keep, limit=limit))
        _MARKED()
        return core.Fenced() if found is None else core.Marked(found)

    def _prune(self, token: int) -> core.Happened:
        dialect, table = self._place.dialect, self._outbox.table
        with self._place.begin() as work:
            count = work.run(outgoing.prune(dialect, table, self._fence(token), self._keep))
            _PRUNING()
        _PRUNED()
        if count is None:
            return core.Fenced()
        return core.Pruned(more=count >= outgoing.PRUNE_ROWS_MAX)

    @property
    def _ttl(self) -> timedelta:
        return self._tenure.ttl

    def _fence(self, token: int) -> Statement:
        return leases.fence(self._place.dialect, self._lease, token, self._ttl)

    async def _end(self) -> None:
        token = self._tenure.token
        if token is not None:
            with contextlib.suppress(MoretonError):
                await self._blocking.call(self._place.ask, leases.release(self._lease, token))
        await self._blocking.call(self._place.close)
        await self._broker.close()
        self._blocking.close()


def _answer(ours: bool) -> core.Happened:  # noqa: FBT001 - what a write said
    return core.Done() if ours else core.Fenced()
