"""The engine: begins sagas, drives them to their end, and goes on with what others left."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from moreton.kernel.arguments import check_duration, check_kind, check_whole
from moreton.kernel.rng import system_rng
from moreton.transactions.saga.codec import PAYLOAD_BYTES_MAX, Codec
from moreton.transactions.saga.core.events import Rest, Status
from moreton.transactions.saga.core.records import Decision
from moreton.transactions.saga.deciding import decide, fork, tell
from moreton.transactions.saga.definition import Saga
from moreton.transactions.saga.errors import EngineClosed, SagaUnknown
from moreton.transactions.saga.handle import Handle
from moreton.transactions.saga.hosting.dispatch import Dispatcher
from moreton.transactions.saga.hosting.job import Job, Turn
from moreton.transactions.saga.hosting.migrating import Migration, migrate, why_unreadable
from moreton.transactions.saga.hosting.workshop import Workshop
from moreton.transactions.saga.ledgers.opening import open_ledger
from moreton.transactions.saga.ledgers.port import SagaRow
from moreton.transactions.saga.outcome import Outcome
from moreton.transactions.saga.queues.queue import Queue, check_queues
from moreton.transactions.saga.queues.table import Entry, QueueTable
from moreton.transactions.saga.registering import by_name, register, registered_plan
from moreton.transactions.saga.waits import Child

if TYPE_CHECKING:
    from moreton.transactions.saga.schedules.firing import Timekeeper
    from moreton.transactions.saga.schedules.schedule import Schedule

PENDING_MAX = 1_000_000
_LEASE = timedelta(seconds=30)


class Sagas:
    """Runs *sagas*, whose log is at *url*: `sqlite:///file` or `postgresql://user@host/database`.

    Use it in `with` or in `async with`; on SQLite one process at a time, on PostgreSQL as many as
    you like. Give it every definition of which sagas may still run, also old versions. *workers*:
    how many sagas it takes at a time. *lease*: how long a worker that vanished keeps its sagas from
    the others (PostgreSQL). *name*: who this is, for people. *pending_max*: how many sagas may wait
    for a worker before `start` raises `SagasFull`. *schedules*: what it begins by the calendar.
    *queues*: those that it takes sagas from, beside those in no queue.

    Raises `SagaChanged` when a definition is not the one that running sagas began with.
    """

    def __init__(
        self,
        url: str,
        *sagas: Saga,
        workers: int = 16,
        name: str = "",
        lease: timedelta = _LEASE,
        pending_max: int = PENDING_MAX,
        payload_bytes_max: int = PAYLOAD_BYTES_MAX,
        schedules: Sequence[Schedule] = (),
        queues: Sequence[Queue] = (),
    ) -> None:
        check_kind("url", url, str)
        check_whole("workers", workers, 1, 1000)
        check_duration("lease", lease)
        check_whole("pending_max", pending_max, 1)
        check_whole("payload_bytes_max", payload_bytes_max, 1024)
        for saga in sagas:
            check_kind("sagas", saga, Saga, "what `Saga(...)` made")
        self._schedules = tuple(schedules)
        self._queues = check_queues(queues)
        sagas += tuple(schedule.saga for schedule in self._schedules)
        self.url, self._workers, self._lease = url, workers, lease
        self._name = name or socket.gethostname()
        self._pending_max, self._payload_bytes_max = pending_max, payload_bytes_max
        self._sagas = by_name(_with_children(sagas))
        self._open: Workshop | None = None
        self._dispatcher: Dispatcher | None = None

    def open(self) -> None:
        """Take the log, and begin to go on with what is due."""
        ledger = open_ledger(self.url, lease=self._lease)
        try:
            register(ledger, list(self._sagas.values()))
            shop = Workshop(
                ledger, self._sagas, workers=self._workers, name=self._name,
                payload_bytes_max=self._payload_bytes_max, pending_max=self._pending_max,
                lease_micros=ledger.lease_micros,
            )  # fmt: skip
            self._keep_queues(shop)
            keeper = self._timekeeper(shop)
        except BaseException:
            ledger.close()
            raise
        self._open = shop
        self._dispatcher = Dispatcher(
            shop, keeper, queues=list(self._queues), poll_seconds=ledger.poll_seconds,
            lease_seconds=self._lease.total_seconds(),
        )  # fmt: skip

    def close(self) -> None:
        """Let steps that are under way end; the sagas go on after the next `open`."""
        shop, self._open = self._open, None
        if shop is not None and self._dispatcher is not None:
            self._dispatcher.close()
            shop.close()
            shop.ledger.close()

    def __enter__(self) -> Self:
        self.open()
        self._begin_work()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.open)
        self._shop.use_loop(asyncio.get_running_loop())
        self._begin_work()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._open is not None:
            await self._open.finish()
        await asyncio.to_thread(self.close)

    def start(
        self,
        saga: Saga,
        input: object = None,  # noqa: A002 - its name in `Saga` too
        *,
        id: str | None = None,  # noqa: A002 - what it is
        priority: int = 0,
        queue: Queue | None = None,
    ) -> Handle:
        """Begin a saga of *input*; once this returns, it comes to an end whatever happens.

        *id*: yours, so that beginning twice begins once; it is found by it. Those of higher
        *priority* go first when there are more than workers, or than their *queue* lets in. Raises
        `SagaExists` when *id* is that of something else, `NotSerialisable`, `PayloadTooLarge`,
        `SagasFull`.
        """
        shop, own = self._shop, queue is None and self._has_room()
        if queue is not None:
            self._know(queue)
        begin, job, turn = shop.prepare(saga, input, id, priority, own=own, queue=queue)
        with shop.backlog.entering(begin):
            shop.ledger.commit(begin)
        return self._started(saga, job, turn, mine=shop.begun(begin, job), number=begin.number)

    async def start_async(
        self,
        saga: Saga,
        input: object = None,  # noqa: A002 - its name in `Saga` too
        *,
        id: str | None = None,  # noqa: A002 - what it is
        priority: int = 0,
        queue: Queue | None = None,
    ) -> Handle:
        """As `start`."""
        shop, own = self._shop, queue is None and self._has_room()
        if queue is not None and self._shop.queues.get(queue.name) != queue:
            await asyncio.to_thread(self._know, queue)
        begin, job, turn = shop.prepare(saga, input, id, priority, own=own, queue=queue)
        with shop.backlog.entering(begin):
            await shop.committer.commit(begin)
        mine = shop.begun(begin, job)
        return self._started(saga, job, turn, mine=mine, number=begin.number)

    def run(
        self,
        saga: Saga,
        input: object = None,  # noqa: A002 - its name in `Saga` too
        *,
        id: str | None = None,  # noqa: A002 - what it is
        priority: int = 0,
        queue: Queue | None = None,
    ) -> Outcome:
        """Begin a saga and return its outcome: completed, compensated, or parked.

        Plain functions are called in this thread.
        """
        if saga.is_async or queue is not None:
            return self.start(saga, input, id=id, priority=priority, queue=queue).wait()
        shop = self._shop
        begin, job, turn = shop.prepare(saga, input, id, priority, own=True)
        shop.ledger.commit(begin)
        rest = None
        if shop.begun(begin, job):
            shop.enter(job)
            rest = shop.drive(job, turn)
        elif turn.rest is not None and not begin.existed:
            rest = turn.rest
        return _outcome(job, rest) or Handle(shop, saga, job.id, begin.number).wait()

    async def run_async(
        self,
        saga: Saga,
        input: object = None,  # noqa: A002 - its name in `Saga` too
        *,
        id: str | None = None,  # noqa: A002 - what it is
        priority: int = 0,
        queue: Queue | None = None,
    ) -> Outcome:
        """As `run`; coroutines run on this loop."""
        shop = self._shop
        if queue is not None:
            handle = await self.start_async(saga, input, id=id, priority=priority, queue=queue)
            return await handle.wait_async()
        begin, job, turn = shop.prepare(saga, input, id, priority, own=True)
        await shop.committer.commit(begin)
        rest = None
        if shop.begun(begin, job):
            shop.enter(job)
            if saga.is_async or not job.machine.plan.steps:
                rest = await shop.drive_async(job, turn)
            else:
                rest = await asyncio.to_thread(shop.drive, job, turn)
        elif turn.rest is not None and not begin.existed:
            rest = turn.rest
        found = _outcome(job, rest)
        return found or await Handle(shop, saga, job.id, begin.number).wait_async()

    def find(self, id: str) -> Handle:  # noqa: A002 - as in `start`
        """The saga that was begun with *id*; raises `SagaUnknown`."""
        row = self._row(id)
        return Handle(self._shop, self._shop.code_of(row), row.id, row.number)

    def signal(self, id: str, name: str, value: object = None) -> None:  # noqa: A002
        """Tell the saga *id* that *name* happened: its step of that name is done, with *value*.

        May come before the step waits for it. The first one counts; the same again does nothing.
        Raises `SignalRefused` for a signal that the saga does not know, or another value.
        """
        row, shop = self._row(id), self._shop
        saga = self._sagas.get((row.name, row.version))
        # Whoever tells it need not have its code, but knows what it waits for.
        plan = registered_plan(shop.ledger, row) if saga is None else saga.plan
        text = Codec().encode(f'signal "{name}"', value, bytes_max=self._payload_bytes_max)
        tell(shop.ledger, row, name, text, plan=plan)
        shop.bell.set()

    def decide(self, id: str, decision: Decision | str, *, note: str = "") -> None:  # noqa: A002
        """As a person: `retry`, `skip`, `compensate` or `resume` the saga *id*.

        Raises `DecisionRefused` when that does not fit the state it is in.
        """
        row = self._row(id)
        saga, shop = self._shop.code_of(row), self._shop
        decide(
            shop.ledger, row, Decision(decision), note,
            plan=saga.plan, rng=system_rng(), now=shop.clock.now(),
        )  # fmt: skip
        shop.bell.set()

    def fork(self, id: str, step: str, *, new_id: str | None = None) -> Handle:  # noqa: A002
        """Begin a saga that goes on from before *step* with what the saga *id* did until then.

        What it takes over is undone under the key of the first saga, should it go back: decide
        which of the two may. Raises `DecisionRefused` when a step before *step* is not done.
        """
        row, shop = self._row(id), self._shop
        saga = shop.code_of(row)
        found = new_id or f"{id}-{shop.new_id()}"
        begin = fork(shop.ledger, row, step, found, plan=saga.plan, now=shop.clock.now())
        shop.bell.set()
        return Handle(shop, saga, begin.id, begin.number)

    def migrate(
        self,
        old: Saga,
        new: Saga,
        *,
        id: str = "",  # noqa: A002 - as in `start`
        dry_run: bool = False,
    ) -> list[Migration]:
        """Let the sagas that run by *old*, or the one of *id*, go on by *new*, where that fits.

        It fits when *new* could have written the saga's log, when each step that may be under way
        or is to be undone is the same there, and when *new* can read its input and its results. The
        others stay with *old*, each with the reason. With *dry_run* nothing is written.
        """
        shop = self._shop
        for saga in (old, new):
            shop.check(saga)
        if old.name != new.name or old is new:
            raise ValueError(f"{old!r} to {new!r}: give two versions of one saga")
        found = migrate(
            shop.ledger, old.plan, new.plan, now=shop.clock.now(), dry_run=dry_run, saga_id=id,
            look=partial(why_unreadable, new),
        )  # fmt: skip
        done = list(found)
        shop.bell.set()
        return done

    def counts(self) -> dict[Status, int]:
        """How many sagas are in each status."""
        return {Status(name): count for name, count in self._shop.ledger.counts().items()}

    def queues(self) -> list[Entry]:
        """Every queue of the log: its limits, and how many of its sagas run and wait."""
        return list(QueueTable(self._shop.ledger).entries().values())

    def forget(self, older_than: timedelta, *, most: int = 10_000) -> int:
        """Delete up to *most* that ended so long ago, no child before its parent; how many."""
        check_duration("older_than", older_than, zero=True)
        before = self._shop.clock.now().nanos // 1000 - older_than // timedelta(microseconds=1)
        left = most
        while left and (found := self._shop.ledger.forget(before, left)):
            left -= found
        return most - left

    @property
    def _shop(self) -> Workshop:
        if self._open is None:
            raise EngineClosed
        return self._open

    def _know(self, queue: Queue) -> None:
        check_kind("queue", queue, Queue)
        if self._shop.queues.get(queue.name) != queue:
            self._shop.keep(queue)

    def _keep_queues(self, shop: Workshop) -> None:
        try:
            for queue in self._queues.values():
                shop.keep(queue, replace=True)
            steps = [step for saga in self._sagas.values() for step in saga.steps.values()]
            named = [step.queue for step in steps if isinstance(step, Child)]
            named += [schedule.queue for schedule in self._schedules]
            for other in named:
                if other is not None and other.name not in self._queues:
                    shop.keep(other)
        except BaseException:
            shop.close()
            raise

    def _timekeeper(self, shop: Workshop) -> Timekeeper | None:
        if not self._schedules:
            return None
        from moreton.transactions.saga.schedules import firing  # noqa: PLC0415 - if there are any

        try:
            return firing.Timekeeper(shop.ledger, self._schedules, shop.prepare_for)
        except BaseException:
            shop.close()
            raise

    def _begin_work(self) -> None:
        assert self._dispatcher is not None
        self._dispatcher.start()

    def _has_room(self) -> bool:
        return len(self._shop.active) < self._workers

    def _started(self, saga: Saga, job: Job, turn: Turn, *, mine: bool, number: int) -> Handle:
        shop = self._shop
        handle = Handle(shop, saga, job.id, number)
        if mine:
            shop.launch(job, turn)
        elif len(shop.active) < self._workers:
            shop.bell.set()
        return handle

    def _row(self, saga_id: str) -> SagaRow:
        row = self._shop.ledger.find(saga_id)
        if row is None:
            raise SagaUnknown(saga_id=saga_id, where=self._shop.ledger.where)
        return row


def _outcome(job: Job, rest: Rest | None) -> Outcome | None:
    if rest is None:
        return None
    return Outcome(job.id, rest.status, rest.reason, job.machine.history.results)


def _with_children(sagas: tuple[Saga, ...]) -> Iterator[Saga]:
    for saga in sagas:
        yield saga
        children = [step.saga for step in saga.steps.values() if isinstance(step, Child)]
        yield from _with_children(tuple(children))
