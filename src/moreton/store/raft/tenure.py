"""What only the leader does, for as long as it leads: time the leases, and bound the history.

No renewal is written down. A new leader gives every lease its whole time anew, and says so in the
log (`Begin`); from then on it alone may end leases, and no earlier leader. Before it ends one, and
before it tells an owner that a lease lives, it makes sure that it still leads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from datetime import timedelta
from typing import Any

from moreton.kernel.errors import MoretonError
from moreton.kernel.time import Clock, Instant
from moreton.store.core.changes import LeaseGranted, LeaseRevoked
from moreton.store.core.errors import LeaseNotFound, StoreError
from moreton.store.core.lease import LeaseMachine, LeaseRenewed, RevocationFailed
from moreton.store.core.model import LeaseId
from moreton.store.host import HISTORY_BYTES_KEPT, HISTORY_EVENTS_KEPT
from moreton.store.raft.core.commands import Begin, Command, Compact, Expire
from moreton.store.raft.core.replica import Answer, Done
from moreton.store.raft.machine import StoreMachine

_LOG = logging.getLogger("moreton.store.raft")
# A timer is never set shorter: clocks of different grain would make it spin.
_TIMER_SECONDS_MIN = 0.001
# What the cluster refuses is tried again after this, for as long as this node leads.
_RETRY_SECONDS = 0.1


class TenureOver(Exception):
    """This node does not lead any more, or has not begun to."""


class Tenure:
    """One term of leadership of this node, from its election until `end`.

    *duties* are what else it does for as long.
    """

    def __init__(
        self,
        term: int,
        machine: StoreMachine,
        *,
        propose: Callable[[Command], Awaitable[Answer]],
        barrier: Callable[[], Awaitable[None]],
        clock: Clock,
        duties: Iterable[Coroutine[Any, Any, None]] = (),
    ) -> None:
        self.term = term
        self._machine = machine
        self._propose = propose
        self._barrier = barrier
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._begun = asyncio.Event()
        self._over = False
        self._leases = LeaseMachine((), clock.now())
        self._timer: asyncio.TimerHandle | None = None
        self._timer_deadline: Instant | None = None
        self._ending = self._compacting = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._spawn(self._begin())
        for duty in duties:
            self._spawn(duty)

    def on_done(self, done: Done) -> None:
        """A command was carried out here."""
        if isinstance(done.command, Begin) and done.command.term == self.term:
            self._leases = LeaseMachine(self._machine.state.leases.values(), self._clock.now())
            self._begun.set()
        for change in done.changes:
            if isinstance(change, (LeaseGranted, LeaseRevoked)):
                self._leases.handle(change, self._clock.now())
        self._limit_history()
        self._set_timer()

    async def renew(self, leases: Sequence[LeaseId]) -> list[timedelta | None]:
        """Each lease's time to live, which begins anew; `None` for one that is not there.

        Raises `TenureOver` if another may lead, and whatever keeps the cluster from deciding.
        """
        await self._begun.wait()
        if self._over:
            raise TenureOver
        # At once, so that none of them ends while the others are asked who leads.
        self._renew_known(leases)
        await self._barrier()
        if self._over:
            raise TenureOver
        return self._renew_known(leases)

    def end(self) -> None:
        """This node leads no more."""
        self._over = True
        self._begun.set()
        self._set_timer()
        for task in self._tasks:
            task.cancel()

    @property
    def is_busy(self) -> bool:
        """Whether something that was begun has not ended."""
        return bool(self._tasks)

    async def wait_ended(self) -> None:
        """Return once nothing is under way any more."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def _begin(self) -> None:
        while not self._begun.is_set():
            try:
                await self._propose(Begin(self.term))
            except StoreError as error:
                _LOG.debug("the leader of term %d has not begun: %s", self.term, error)
                await asyncio.sleep(_RETRY_SECONDS)

    def _renew_known(self, leases: Sequence[LeaseId]) -> list[timedelta | None]:
        now = self._clock.now()
        return [self._renew_one(lease, now) for lease in leases]

    def _renew_one(self, lease: LeaseId, now: Instant) -> timedelta | None:
        try:
            self._leases.handle(LeaseRenewed(lease), now)
        except LeaseNotFound:
            return None
        return self._leases.ttl(lease)

    # --- ends of leases -----------------------------------------------------------------------

    def _set_timer(self) -> None:
        idle = self._over or self._ending or not self._begun.is_set()
        deadline = None if idle else self._leases.deadline()
        if self._timer is not None and self._timer_deadline == deadline:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_deadline = deadline
        if deadline is not None:
            delay = (deadline - self._clock.now()).total_seconds()
            self._timer = self._loop.call_later(max(delay, _TIMER_SECONDS_MIN), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._ending = True
        self._spawn(self._end_leases())

    async def _end_leases(self) -> None:
        try:
            # Renewals that wait in this process, which may have been stopped, come in meanwhile.
            await self._barrier()
            if self._over:
                return
            ended = [effect.lease for effect in self._leases.wake(self._clock.now())]
            if ended:
                await self._expire(ended)
        except StoreError as error:
            _LOG.debug("leases that are due live on: %s", error)
            await asyncio.sleep(_RETRY_SECONDS)
        finally:
            self._ending = False
            self._set_timer()

    async def _expire(self, ended: Sequence[LeaseId]) -> None:
        try:
            await self._propose(Expire(tuple(ended), self.term))
        except (MoretonError, asyncio.CancelledError):
            now = self._clock.now()
            for lease in ended:
                self._leases.handle(RevocationFailed(lease), now)
            raise

    # --- history ------------------------------------------------------------------------------

    def _limit_history(self) -> None:
        history = self._machine.state.history
        kept, size = HISTORY_EVENTS_KEPT, HISTORY_BYTES_KEPT
        if self._compacting or self._over:
            return
        if history.events <= kept + kept // 10 and history.bytes <= size + size // 10:
            return
        state = self._machine.state
        keep = history.revision_to_keep(events=kept, size=size) or state.revision
        if keep > state.compact_revision:
            self._compacting = True
            self._spawn(self._compact(keep))

    async def _compact(self, revision: int) -> None:
        try:
            await self._propose(Compact(revision))
        except StoreError as error:
            _LOG.debug("the history was not bounded: %s", error)
        finally:
            self._compacting = False

    # --- inside -------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"leader of term {self.term}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
