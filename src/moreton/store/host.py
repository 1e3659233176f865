"""The asyncio host that drives a store's state: shared by the backends of one process.

A write changes the state at once, is handed to the journal, and is shown and answered when the
journal says that it is durable. If the journal fails, everything not yet durable is undone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from moreton.kernel.rng import system_rng
from moreton.kernel.time import Clock, Instant
from moreton.store.core.changes import (
    Change,
    HistoryCompacted,
    LeaseGranted,
    LeaseRevoked,
    NothingChanged,
    Written,
    payload_bytes,
)
from moreton.store.core.errors import Compacted, LeaseNotFound, StoreError
from moreton.store.core.lease import LeaseMachine, LeaseRenewed, RevocationFailed
from moreton.store.core.model import (
    Compare,
    Delete,
    DeleteResult,
    Lease,
    LeaseId,
    Op,
    Put,
    Range,
    RangeResult,
    Transaction,
    TxnResult,
    WatchBatch,
)
from moreton.store.core.state import State
from moreton.store.errors import StoreClosed
from moreton.store.protocol import Store, StoreStatistics
from moreton.store.watching import Watch, WatchHub

# Writers wait when so many writes, or bytes of them, are under way.
WRITES_PENDING_MAX = 4096
BYTES_PENDING_MAX = 32 * 1024 * 1024
# History kept for watches and reads of the past. A tenth more, and the oldest tenth goes: in
# steps so small that no writer notices.
HISTORY_EVENTS_KEPT = 10_000
HISTORY_BYTES_KEPT = 8 * 1024 * 1024
# A timer is never set shorter: clocks of different grain would make it spin.
_TIMER_SECONDS_MIN = 0.001


class Journal(Protocol):
    """Where changes are made to last, in the order given."""

    def start(self, committed: Callable[[int], None], failed: Callable[[StoreError], None]) -> None:
        """Begin to call *committed* with how many more of the oldest changes are durable.

        *failed*: nothing submitted since what was last committed will be durable.
        """
        ...

    def submit(self, change: Change) -> None:
        """Make *change* durable, after those before it."""
        ...

    async def close(self) -> None:
        """Finish what was submitted, and stop."""
        ...

    def commits(self) -> int:
        """How often the disk was synchronised."""
        ...

    def file_bytes(self) -> int:
        """How large the files are."""
        ...


@dataclass(frozen=True, slots=True)
class _Pending:
    change: Change
    durable: asyncio.Future[None]


class LocalStore(Store):
    """A store in this process. Made inside a running event loop, used from that loop only."""

    def __init__(self, state: State, journal: Journal, *, clock: Clock) -> None:
        self._loop = asyncio.get_running_loop()
        self._state = state
        self._journal = journal
        self._clock = clock
        self._rng = system_rng()
        self._hub = WatchHub(state, self._loop)
        self._pending: deque[_Pending] = deque()
        self._pending_bytes = 0
        self._compacting = state.compact_revision
        self._leases = LeaseMachine(state.leases.values(), clock.now())
        self._timer: asyncio.TimerHandle | None = None
        self._timer_deadline: Instant | None = None
        self._closed = False
        self._ended = asyncio.Event()
        journal.start(self._on_committed, self._on_failed)
        self._set_timer()

    async def range(
        self,
        key: bytes,
        end: bytes | None = None,
        *,
        revision: int | None = None,
        limit: int | None = None,
    ) -> RangeResult:
        """As `Store.range`; from memory, without waiting for writes under way."""
        self._check_open()
        return self._state.read(Range(key, end, revision, limit), visible=self._hub.revision)

    async def txn(
        self,
        compare: Sequence[Compare] = (),
        then: Sequence[Op] = (),
        otherwise: Sequence[Op] = (),
    ) -> TxnResult:
        """As `Store.txn`."""
        request = Transaction(tuple(compare), tuple(then), tuple(otherwise))
        await self._room()
        result, change = self._state.apply(request)
        if not (isinstance(change, NothingChanged) and not self._pending):
            await self._commit(change)
        return result

    async def put(self, key: bytes, value: bytes, *, lease: LeaseId | None = None) -> int:
        """As `Store.put`."""
        return (await self.txn(then=(Put(key, value, lease),))).revision

    async def delete(self, key: bytes, end: bytes | None = None) -> int:
        """As `Store.delete`."""
        result = (await self.txn(then=(Delete(key, end),))).results[0]
        assert isinstance(result, DeleteResult)
        return result.deleted

    async def grant(self, ttl: timedelta, *, lease: LeaseId | None = None) -> LeaseId:
        """As `Store.grant`."""
        await self._room()
        granted = Lease(self._free_lease_id() if lease is None else lease, ttl)
        await self._commit(self._state.grant(granted))
        return granted.id

    async def keep_alive(self, lease: LeaseId) -> timedelta:
        """As `Store.keep_alive`."""
        self._check_open()
        self._leases.handle(LeaseRenewed(lease), self._clock.now())
        return self._leases.ttl(lease)

    async def revoke(self, lease: LeaseId) -> None:
        """As `Store.revoke`."""
        await self._room()
        await self._commit(self._state.revoke(lease))

    @asynccontextmanager
    async def watch(
        self, key: bytes, end: bytes | None = None, *, from_revision: int | None = None
    ) -> AsyncIterator[AsyncIterator[WatchBatch]]:
        """As `Store.watch`."""
        if from_revision is not None and from_revision < 1:
            message = f"revision {from_revision} is below 1, the revision of an empty store"
            raise ValueError(message)
        first = self._hub.revision + 1 if from_revision is None else from_revision
        self._hub.check(first)
        watch = Watch(self._hub, key, end, first)
        self._hub.add(watch)
        try:
            yield watch
        finally:
            self._hub.remove(watch)

    async def compact(self, revision: int) -> None:
        """As `Store.compact`."""
        await self._room()
        await self._commit(self._plan_compaction(revision))

    def statistics(self) -> StoreStatistics:
        """As `Store.statistics`."""
        return StoreStatistics(
            revision=self._hub.revision,
            compact_revision=self._state.compact_revision,
            keys=len(self._state.keyspace),
            leases=len(self._state.leases),
            watches=len(self._hub),
            history_events=self._state.history.events,
            history_bytes=self._state.history.bytes,
            writes_pending=len(self._pending),
            commits=self._journal.commits(),
            file_bytes=self._journal.file_bytes(),
        )

    async def close(self) -> None:
        """As `Store.close`."""
        if self._closed:
            await self._ended.wait()
            return
        self._closed = True
        self._set_timer()
        try:
            await self._journal.close()
        finally:
            self._hub.close()
            self._ended.set()

    async def _room(self) -> None:
        self._check_open()
        while len(self._pending) >= WRITES_PENDING_MAX or self._pending_bytes >= BYTES_PENDING_MAX:
            await asyncio.wait([self._pending[-1].durable])
            self._check_open()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed

    def _free_lease_id(self) -> LeaseId:
        # 63 bits, never 0: the ids that etcd makes, too.
        while True:
            lease = LeaseId(self._rng.getrandbits(63))
            if lease and lease not in self._state.leases:
                return lease

    def _commit(self, change: Change) -> asyncio.Future[None]:
        durable: asyncio.Future[None] = self._loop.create_future()
        self._pending.append(_Pending(change, durable))
        self._pending_bytes += payload_bytes(change)
        self._journal.submit(change)
        return durable

    def _on_committed(self, count: int) -> None:
        for _ in range(count):
            pending = self._pending.popleft()
            self._pending_bytes -= payload_bytes(pending.change)
            self._show(pending.change)
            if not pending.durable.done():
                pending.durable.set_result(None)
        self._limit_history()
        self._set_timer()

    def _on_failed(self, error: StoreError) -> None:
        undone = list(self._pending)
        self._pending.clear()
        self._pending_bytes = 0
        for pending in reversed(undone):
            self._state.undo(pending.change)
        self._compacting = self._state.compact_revision
        for pending in undone:
            if not pending.durable.done():
                pending.durable.set_exception(error)

    def _show(self, change: Change) -> None:
        now = self._clock.now()
        match change:
            case Written(batch):
                self._hub.publish(batch)
            case LeaseGranted():
                self._leases.handle(change, now)
            case LeaseRevoked(_, batch):
                self._leases.handle(change, now)
                if batch is not None:
                    self._hub.publish(batch)
            case HistoryCompacted(revision):
                self._state.compact(revision)
            case NothingChanged():
                pass

    def _plan_compaction(self, revision: int) -> HistoryCompacted:
        if revision <= self._compacting:
            raise Compacted(revision=revision, compact_revision=self._compacting)
        change = self._state.plan_compaction(revision, visible=self._hub.revision)
        self._compacting = revision
        return change

    def _limit_history(self) -> None:
        history = self._state.history
        if self._compacting > self._state.compact_revision:
            return
        kept, size = HISTORY_EVENTS_KEPT, HISTORY_BYTES_KEPT
        if history.events <= kept + kept // 10 and history.bytes <= size + size // 10:
            return
        keep = history.revision_to_keep(events=kept, size=size)
        # Writes under way are history too, but only what is durable can be compacted.
        keep = min(keep or self._state.revision, self._hub.revision)
        if keep > self._compacting:
            self._forget_outcome(self._commit(self._plan_compaction(keep)))

    def _set_timer(self) -> None:
        deadline = None if self._closed else self._leases.deadline()
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
        for effect in self._leases.wake(self._clock.now()):
            self._end(effect.lease)
        self._set_timer()

    def _end(self, lease: LeaseId) -> None:
        try:
            change = self._state.revoke(lease)
        except LeaseNotFound:
            return  # its owner revokes it at this moment
        ending = self._commit(change)
        ending.add_done_callback(lambda done: self._on_ended(lease, done))

    def _on_ended(self, lease: LeaseId, done: asyncio.Future[None]) -> None:
        if done.exception() is not None:
            self._leases.handle(RevocationFailed(lease), self._clock.now())
            self._set_timer()

    @staticmethod
    def _forget_outcome(future: asyncio.Future[None]) -> None:
        # A failure is seen by the next writer too; reading it here keeps asyncio from warning.
        future.add_done_callback(lambda done: done.exception())
