"""What a saga waits for: signals, children, and time too long for a worker to sit out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from moreton.kernel.rng import Rng
from moreton.kernel.time import Instant
from moreton.transactions.saga.clock import LogClock
from moreton.transactions.saga.core.errors import DecisionRefused
from moreton.transactions.saga.core.events import (
    Attempt,
    Await,
    Event,
    Failed,
    Failure,
    Status,
    Succeeded,
    Undid,
    Undo,
)
from moreton.transactions.saga.core.plan import Act
from moreton.transactions.saga.core.records import Decision
from moreton.transactions.saga.deciding import decide
from moreton.transactions.saga.hosting.job import Job
from moreton.transactions.saga.ledgers.port import Advance, Begin, Ledger, SagaRow, Settle
from moreton.transactions.saga.waits import Child

_log = logging.getLogger("moreton.transactions.saga")
# A wait up to this long is sat out; for a longer one the saga is put down.
HOLD = timedelta(seconds=1)


class Waiting:
    """Looks for answers in *ledger*; *begin* begins a child, or finds it."""

    def __init__(
        self, ledger: Ledger, clock: LogClock, rng: Rng, begin: Callable[[Job, Child], SagaRow]
    ) -> None:
        self._ledger, self._clock, self._rng, self._begin = ledger, clock, rng, begin

    def remember(self, job: Job) -> None:
        """What *job* waited for when it was put down: it may have come, also before its time."""
        for i in job.machine.history.waiting:
            step = job.machine.plan.steps[i]
            if step.act is not Act.PAUSE:
                job.awaits[step.name] = Await(step.name, step.act)

    def answered(self, job: Job) -> Event | None:
        """What came of something that *job* waits for; `None` when nothing did."""
        machine = job.machine
        for name, wait in job.awaits.items():
            event: Event | None = None
            if machine.plan.index[name] not in machine.history.waiting:
                continue  # its time is over
            if wait.act is Act.SIGNAL:
                value = self._ledger.signalled(job.number, name)
                if value is not None:
                    event = Succeeded(name, value)
            elif wait.act is Act.CHILD:
                event = self._of_child(job, name)
            if event is not None:
                del job.awaits[name]
                return event
        return None

    def _of_child(self, job: Job, name: str) -> Event | None:
        step = job.saga.steps[name]
        assert isinstance(step, Child)
        row = self._begin(job, step)
        if row.status == Status.COMPLETED:
            return Succeeded(name, "null")
        if row.status == Status.COMPENSATED:
            return Failed(name, f'saga "{row.id}" went back, {row.reason}', Failure.DECLINED)
        return None

    def compensate_child(self, job: Job, call: Attempt | Undo) -> Event | None:
        """Undo a child; `None` when that is under way."""
        origin = job.machine.history.origins.get(call.step, "")
        child_id = f"{origin or job.id}/{call.step}"
        step = job.saga.steps[call.step]
        assert isinstance(step, Child)
        row = self._ledger.find(child_id) or self._keep_out(job, step, child_id)
        if row is None or row.status == Status.COMPENSATED:
            return Undid(call.step)
        records = self._ledger.log(row.number)
        if not any(one.kind == "decided" and '"compensate"' in one.body for one in records):
            try:
                decide(
                    self._ledger, row, Decision.COMPENSATE, f'"{job.id}" goes back',
                    plan=step.saga.plan, rng=self._rng, now=self._clock.now(),
                )  # fmt: skip
            except DecisionRefused:  # it goes back by now, or has: wait for its end
                _log.info("saga %s goes back already", child_id)
        if origin:  # its end is told to the saga that began it: look again
            return Failed(call.step, f'saga "{child_id}" goes back', Failure.TRANSIENT)
        job.machine.defer(call.step)
        job.deferred.append(f"{child_id}={Status.COMPENSATED}")
        return None

    def _keep_out(self, job: Job, step: Child, child_id: str) -> SagaRow | None:
        """A child that was not begun never is: not by a worker either that was frozen before it."""
        now, plan = self._clock.now().nanos // 1000, step.saga.plan
        never = Begin(
            child_id, plan.name, plan.version, "null", now, Status.COMPENSATED, None, None,
            parent=job.number, reason=f'"{job.id}" went back before it began',
        )  # fmt: skip
        self._ledger.commit(never)
        return self._ledger.find(child_id) if never.existed else None

    def leave(self, job: Job, due: Instant | None) -> Advance:
        """Put *job* down until *due*, or until something comes."""
        names = list(job.deferred)
        for name, wait in job.awaits.items():
            if wait.act is Act.SIGNAL:
                names.append(name)
            elif wait.act is Act.CHILD:
                names += [f"{job.id}/{name}={end}" for end in Status if end.is_final]
        micros = None if due is None else max(1, due.nanos // 1000)
        settle = Settle(Status.WAITING, micros, self._reason(job), awaits=names)
        return Advance(job.number, job.epoch, job.seq, [], settle)

    def hand_back(self, job: Job) -> Advance:
        """Put *job* down for any other worker."""
        return Advance(job.number, job.epoch, job.seq, [], Settle(Status.READY, 0))

    @staticmethod
    def _reason(job: Job) -> str:
        if job.awaits:
            return "waits for " + ", ".join(f'"{name}"' for name in job.awaits)
        return "waits for its time"
