"""Everything that an open engine has: who begins sagas, drives them, and hears of their end."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event as Flag
from threading import Lock, Thread
from typing import Any
from weakref import WeakValueDictionary

from moreton.kernel.arguments import check_whole
from moreton.kernel.errors import MoretonError
from moreton.kernel.ids import new_id
from moreton.kernel.rng import system_rng
from moreton.kernel.time import Instant, SystemClock
from moreton.store.errors import StoreError
from moreton.transactions.saga.clock import LogClock
from moreton.transactions.saga.codec import plain
from moreton.transactions.saga.core.events import Rest, Status
from moreton.transactions.saga.core.records import Halted
from moreton.transactions.saga.core.rows import LogRow, from_row, to_row
from moreton.transactions.saga.definition import Saga
from moreton.transactions.saga.errors import (
    Fenced,
    LedgerFailing,
    SagaError,
    SagaExists,
    SagaNotRegistered,
)
from moreton.transactions.saga.hosting import watching
from moreton.transactions.saga.hosting.backlog import Backlog
from moreton.transactions.saga.hosting.committing import Committer
from moreton.transactions.saga.hosting.coroutines import LoopDriver
from moreton.transactions.saga.hosting.job import Job, Turn
from moreton.transactions.saga.hosting.threads import ThreadDriver
from moreton.transactions.saga.hosting.waiting import Waiting
from moreton.transactions.saga.ledgers.port import Advance, Begin, Ledger, SagaRow, Settle, Write
from moreton.transactions.saga.queues.queue import Queue, check_queues
from moreton.transactions.saga.queues.table import QueueTable
from moreton.transactions.saga.waits import Child

_log = logging.getLogger("moreton.transactions.saga")
# A worker that vanished so often with the same saga, which got no further, was killed by it.
TAKEOVERS_MAX = 10
PRIORITY_MAX = 1_000_000
LedgerTrouble = (LedgerFailing, StoreError)


class Workshop:
    """One engine that is open, over *ledger*, for the definitions in *sagas*."""

    def __init__(
        self, ledger: Ledger, sagas: Mapping[tuple[str, int], Saga], *, workers: int, name: str,
        payload_bytes_max: int, pending_max: int, lease_micros: int,
    ) -> None:  # fmt: skip
        self.ledger, self.sagas, self.workers = ledger, sagas, workers
        # The name is for people; two processes with the same one are still two.
        self.owner = f"{name}#{uuid.uuid4().hex}"
        self.clock = LogClock(ledger.now_nanos())
        self.closing = Flag()
        self.bell = Flag()  # there may be something to take
        self.more = True  # that there may be more to take than there was room for
        self.active: dict[int, Job] = {}
        self.stranded: dict[int, int] = {}  # put aside, with their epochs, as the ledger failed
        self.backlog = Backlog(pending_max, self.bell)
        self.queues: dict[str, Queue] = {}  # that the log knows
        self.ended: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self._payload_bytes_max = payload_bytes_max
        self._lease_micros = lease_micros
        self._rng = system_rng()
        self._wall = SystemClock()
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(workers, "moreton-saga")
        self._branches = ThreadPoolExecutor(4 * workers, "moreton-saga-branch")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._own_loop: Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.committer = Committer(ledger, self._unheard)
        waiting = Waiting(ledger, self.clock, self._rng, self._begin_child)
        self.threads = ThreadDriver(
            ledger, self.clock, waiting, branches=self._branches, closing=self.closing
        )
        self.coroutines = LoopDriver(self.committer, self.clock, waiting, closing=self.closing)

    def use_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sagas with coroutines run on *loop*."""
        self._loop = loop

    def keep(self, queue: Queue, *, replace: bool = False) -> None:
        """Let the log know *queue*; raises `ValueError` when another one has its name."""
        known = self.queues.setdefault(queue.name, queue)
        check_queues([known, queue])
        QueueTable(self.ledger).keep(queue, replace=replace)

    def prepare_for(
        self, saga: Saga, value: object, saga_id: str, priority: int, queue: Queue | None
    ) -> Begin:
        """A new saga that whoever has room for it drives; it is to be written at once."""
        begin, _, _ = self.prepare(saga, value, saga_id, priority, own=False, queue=queue)
        self.backlog.count_in()
        return begin

    def prepare(
        self, saga: Saga, value: object, saga_id: str | None, priority: int, *, own: bool,
        queue: Queue | None = None,
    ) -> tuple[Begin, Job, Turn]:  # fmt: skip
        """A new saga, not yet written; *own*: this engine drives it at once."""
        self.check(saga)
        check_whole("priority", priority, -PRIORITY_MAX, PRIORITY_MAX)
        text = saga.codec.encode(
            f'the input of saga "{saga.name}"', value, bytes_max=self._payload_bytes_max
        )
        saga_id = self.new_id() if saga_id is None else saga_id
        if not saga_id or plain(str(saga_id)) != saga_id:
            raise ValueError(f"id is {saga_id!r}: give some text, or leave it out to get one")
        locks = () if saga.locks is None else list(saga.locks(saga.codec.decode(text)))
        for lock in locks:
            if plain(str(lock)) != lock:
                raise ValueError(f'a lock is {lock!r}: let `locks` of "{saga.name}" give texts')
        now = self.clock.now()
        job = Job(
            saga, saga_id, text, started=now, rng=self._rng,
            payload_bytes_max=self._payload_bytes_max,
        )  # fmt: skip
        turn = job.take(job.machine.wake(now), now) if own else Turn()
        micros = now.nanos // 1000
        begin = Begin(
            saga_id, saga.name, saga.version, text, micros, Status.READY, 0, None, priority,
            queue="" if queue is None else queue.name,
            locks=locks,
        )  # fmt: skip
        if own:
            begin.rows = turn.rows
            begin.status, begin.due, begin.owner = (
                Status.RUNNING, micros + self._lease_micros, self.owner,
            )  # fmt: skip
            if turn.rest is not None:
                begin.status, begin.due, begin.owner = turn.rest.status, None, None
        return begin, job, turn

    def new_id(self) -> str:
        """An id that no saga has; ids sort by the time of their making."""
        return new_id(self._wall.wall(), self._rng)

    def begun(self, begin: Begin, job: Job) -> bool:
        """After its commit: whether this engine is to drive it now."""
        if begin.existed:
            self._compare(begin)
            return False
        job.number, job.seq = begin.number, len(begin.rows)
        watching.begun(job)
        return begin.owner is not None

    def launch(self, job: Job, turn: Turn | None = None) -> None:
        """Drive *job* beside the caller."""
        self.enter(job)
        if job.saga.is_async:
            loop = self._loop or self._start_loop()
            loop.call_soon_threadsafe(self._create_task, job, turn)
        else:
            self._pool.submit(self.drive, job, turn)

    def enter(self, job: Job) -> None:
        """From now on this engine has *job*."""
        self.active[job.number] = job

    def leave(self, job: Job, rest: Rest | None) -> None:
        """This engine has *job* no longer; *rest*: how it ended, if it did."""
        if self.active.get(job.number) is job:  # it may have been taken anew meanwhile
            del self.active[job.number]
        watching.rested(job, rest)
        handle = self.ended.get(job.number)
        if handle is not None and rest is not None:
            handle.tell(rest.status, rest.reason, dict(job.machine.history.results))
        if self.more and len(self.active) < self.workers:
            self.bell.set()

    def drive(self, job: Job, turn: Turn | None = None) -> Rest | None:
        """Drive *job* in this thread; how it rests, if it does."""
        rest = None
        try:
            last = self.threads.drive(job, turn)
            rest = None if last is None else last.rest
        except Exception as error:  # noqa: BLE001 - looked at there
            rest = self._trouble(job, error)
        except BaseException:  # the caller is told to end, the saga is not
            self.stranded[job.number] = job.epoch
            raise
        finally:
            self.leave(job, rest)
        return rest

    async def drive_async(self, job: Job, turn: Turn | None = None) -> Rest | None:
        """As `drive`, in this task."""
        rest = None
        try:
            last = await self.coroutines.drive(job, turn)
            rest = None if last is None else last.rest
        except Exception as error:  # noqa: BLE001 - looked at there
            rest = await asyncio.to_thread(self._trouble, job, error)
        except BaseException:  # as above
            self.stranded[job.number] = job.epoch
            raise
        finally:
            self.leave(job, rest)
        return rest

    def resume(self, row: SagaRow, rows: Sequence[LogRow]) -> None:
        """Go on with a saga that was claimed."""
        saga = self.sagas[row.name, row.version]
        try:
            job = Job(
                saga, row.id, row.input, started=Instant(row.started * 1000), rng=self._rng,
                records=[from_row(one) for one in rows], number=row.number, epoch=row.epoch,
                parent=row.parent, payload_bytes_max=self._payload_bytes_max,
            )  # fmt: skip
        except (SagaError, KeyError, ValueError) as error:
            self._park(row.number, row.epoch, len(rows), str(error))
            return
        if row.takeovers and not self._got_further(row, len(rows)):
            self._park(row.number, row.epoch, len(rows), _killer(row))
            return
        self.launch(job)

    def close(self) -> None:
        """Let what is under way come to the end of its step; put the rest down."""
        self.closing.set()
        self.bell.set()
        self._pool.shutdown(wait=True)
        if self._own_loop is not None and self._loop is not None:
            asyncio.run_coroutine_threadsafe(self.finish(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._own_loop.join()
            self._loop.close()
        self._branches.shutdown(wait=True)
        self.committer.close()

    async def finish(self) -> None:
        """Until no task of this loop drives a saga."""
        self.closing.set()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _create_task(self, job: Job, turn: Turn | None) -> None:
        async def drive() -> None:
            await self.drive_async(job, turn)

        task = asyncio.get_running_loop().create_task(drive())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _unheard(self, write: Write) -> None:
        """*write* is durable, and who asked for it is gone: a saga that it began is nobody's."""
        if isinstance(write, Begin) and write.owner is not None and not write.existed:
            self.stranded[write.number] = 1

    def _start_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._own_loop = Thread(
                    target=self._loop.run_forever, name="moreton-saga-loop", daemon=True
                )
                self._own_loop.start()
            return self._loop

    def _begin_child(self, parent: Job, step: Child) -> SagaRow:
        child_id = f"{parent.id}/{step.name}"
        found = self.ledger.find(child_id)
        if found is not None:
            return found
        call = parent.machine.history.attempts[parent.machine.plan.index[step.name]]
        value = parent.input_for(step, call)
        # However many wait: a saga that was begun has to come to its end.
        begin, _, _ = self.prepare(step.saga, value, child_id, 0, own=False, queue=step.queue)
        begin.parent = parent.number
        self.ledger.commit(begin)
        self.bell.set()
        row = self.ledger.find(child_id)
        assert row is not None
        return row

    def check(self, saga: Saga) -> None:
        """Raises `SagaNotRegistered`."""
        if self.sagas.get((saga.name, saga.version)) is not saga:
            raise self._not_registered(repr(saga))

    def code_of(self, row: SagaRow) -> Saga:
        """The definition that *row* goes by; raises `SagaNotRegistered`."""
        found = self.sagas.get((row.name, row.version))
        if found is None:
            raise self._not_registered(
                f'{row.name} version {row.version}, by which saga "{row.id}" goes,'
            )
        return found

    def _not_registered(self, saga: str) -> SagaNotRegistered:
        known = [f"{name} version {version}" for name, version in self.sagas]
        return SagaNotRegistered(saga=saga, known=known)

    def _compare(self, begin: Begin) -> None:
        row = self.ledger.find(begin.id)
        assert row is not None
        if (row.name, row.input) != (begin.name, begin.input):
            found = f'a saga "{row.name}"' + (" with another input" * (row.name == begin.name))
            raise SagaExists(saga_id=begin.id, found=found)
        begin.number = row.number

    def _got_further(self, row: SagaRow, seq: int) -> bool:
        if seq > row.seen:
            self.ledger.took_over(row.number, row.epoch, times=1, seen=seq)
            return True
        return row.takeovers < TAKEOVERS_MAX

    def _trouble(self, job: Job, error: Exception) -> Rest | None:
        """*job* cannot be driven on: how it rests, if that could be written."""
        if isinstance(error, Fenced):
            _log.warning("%s", Fenced(saga_id=job.id))
            self.stranded[job.number] = job.epoch  # should it be ours all the same
            return None
        if isinstance(error, LedgerTrouble):
            _log.warning("saga %s is put aside: %s", job.id, error)
            self.stranded[job.number] = job.epoch
            return None
        _log.error("saga %s is parked: %s", job.id, error, exc_info=error)
        reason = str(error) if isinstance(error, MoretonError) else repr(error)
        return self._park(job.number, job.epoch, job.seq, reason)

    def _park(self, number: int, epoch: int, seq: int, reason: str) -> Rest | None:
        reason = plain(reason)
        row = to_row(Halted(reason), self.clock.now())
        settle = Settle(Status.PARKED, None, reason)
        advance = Advance(number, epoch, seq, [row], settle)
        try:
            self.ledger.commit(advance)
        except LedgerTrouble:
            advance.fenced = True
        if advance.fenced:
            self.stranded[number] = epoch
            return None
        return Rest(Status.PARKED, reason)


def _killer(row: SagaRow) -> str:
    return (
        f"{row.takeovers} workers in a row ended while they had it, and it got no further: one of "
        "its steps may end the process; resume it when that is found"
    )
