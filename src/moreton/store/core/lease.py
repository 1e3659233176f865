"""When leases end: the one part of a store that lives in time, and is never written down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from heapq import heapify, heappop, heappush
from typing import TypeAlias, assert_never

from moreton.kernel.time import Instant
from moreton.store.core.changes import LeaseGranted, LeaseRevoked
from moreton.store.core.errors import LeaseNotFound
from moreton.store.core.model import Lease, LeaseId

# As many leases end in one step as the host can revoke without delaying its other work.
EXPIRIES_MAX = 256
# A revocation that the disk refused is tried again after this.
REVOCATION_RETRY = timedelta(seconds=1)
# A host that wakes this late was stopped or suspended; nobody could renew meanwhile.
STALL = timedelta(seconds=1)
# Beside as many as there are leases, so many entries may be of leases that ended early.
_GONE_MAX = 1024


@dataclass(frozen=True, slots=True)
class LeaseRenewed:
    """The owner of a lease is alive."""

    lease: LeaseId


@dataclass(frozen=True, slots=True)
class RevocationFailed:
    """The lease's end could not be written; its keys are still there."""

    lease: LeaseId


@dataclass(frozen=True, slots=True)
class RevokeLease:
    """Effect: end the lease and delete its keys."""

    lease: LeaseId


LeaseEvent: TypeAlias = LeaseGranted | LeaseRenewed | LeaseRevoked | RevocationFailed


class LeaseMachine:
    """Times leases. A renewal costs O(1) and moves nothing but a number in memory.

    A ttl is a lower bound: a lease lives at least that long after its grant and each renewal.
    Every lease gets its time anew where nobody could renew it for an unknown while: when the
    store starts, and when its process was stopped or suspended.
    """

    def __init__(self, leases: Iterable[Lease], now: Instant) -> None:
        self._ttls = {lease.id: lease.ttl for lease in leases}
        self._ends: dict[LeaseId, Instant] = {}
        self._retries: dict[LeaseId, Instant] = {}
        # When to look at which lease: maybe too early, as a renewal leaves its entry in place.
        self._queue: list[tuple[Instant, LeaseId]] = []
        self._begin_anew(self._ttls, now)

    def ttl(self, lease: LeaseId) -> timedelta:
        """The lease's time to live. Raises `LeaseNotFound`, also once it has begun to end."""
        if lease not in self._ends:
            raise LeaseNotFound(lease=lease)
        return self._ttls[lease]

    def handle(self, event: LeaseEvent, now: Instant) -> Sequence[RevokeLease]:
        """Take note of *event*; nothing follows before its time."""
        match event:
            case LeaseGranted(lease):
                self._ttls[lease.id] = lease.ttl
                self._schedule(lease.id, now + lease.ttl)
            case LeaseRenewed(lease):
                # The entry in the queue stays: it is put right when it comes up.
                self._ends[lease] = now + self.ttl(lease)
            case LeaseRevoked(lease, _):
                self._ttls.pop(lease.id, None)
                self._ends.pop(lease.id, None)
                self._retries.pop(lease.id, None)
                if len(self._queue) > 2 * len(self._ttls) + _GONE_MAX:
                    self._queue_anew()  # those that ended early would stay to their time
            case RevocationFailed(lease):
                if lease in self._ttls:
                    self._retries[lease] = now + REVOCATION_RETRY
                    heappush(self._queue, (self._retries[lease], lease))
            case _:
                assert_never(event)
        return ()

    def wake(self, now: Instant) -> Sequence[RevokeLease]:
        """The leases to end now, at most `EXPIRIES_MAX`; the rest at once after."""
        if self._queue and now - self._queue[0][0] >= STALL:
            self._begin_anew(self._ends, now)
        ended: list[RevokeLease] = []
        while self._queue and self._queue[0][0] <= now and len(ended) < EXPIRIES_MAX:
            _, lease = heappop(self._queue)
            due = self._ends.get(lease) or self._retries.get(lease)
            if due is None:
                continue
            if due > now:
                heappush(self._queue, (due, lease))
                continue
            self._ends.pop(lease, None)
            self._retries.pop(lease, None)
            ended.append(RevokeLease(lease))
        return ended

    def deadline(self) -> Instant | None:
        """No later than the first lease ends."""
        return self._queue[0][0] if self._queue else None

    def _schedule(self, lease: LeaseId, end: Instant) -> None:
        self._ends[lease] = end
        heappush(self._queue, (end, lease))

    def _begin_anew(self, leases: Iterable[LeaseId], now: Instant) -> None:
        self._ends = {lease: now + self._ttls[lease] for lease in leases}
        self._queue_anew()

    def _queue_anew(self) -> None:
        self._queue = [(end, lease) for lease, end in self._ends.items()]
        self._queue.extend((due, lease) for lease, due in self._retries.items())
        heapify(self._queue)
