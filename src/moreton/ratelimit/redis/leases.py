"""Batches of a shared limit that a process takes ahead: most decisions then need no trip."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta
from threading import Lock

from moreton.kernel.arguments import check_duration, check_kind, check_whole
from moreton.kernel.time import nanos_of
from moreton.ratelimit.core.decision import Decision
from moreton.ratelimit.limiter import Keys, Limiter, LimiterStatistics

LEASES_MAX = 100_000
# All are looked through for those that have ended, which takes 10 ms, so often at most.
_SWEEP_NANOS = 1_000_000_000
_ZERO = timedelta(0)
_SECOND = timedelta(seconds=1)


@dataclass(slots=True)
class Lease:
    """What is *left* of what *decision* charged, until it ends; next *size* is asked for."""

    decision: Decision | None = None
    left: int = 0
    ends: int = 0
    size: int = 1
    asking: Lock = field(default_factory=Lock)
    asking_async: asyncio.Lock = field(default_factory=asyncio.Lock)


class LeasedLimiter(Limiter):
    """The limits of *store*, of which this process takes up to *batch_max* at a time for a key.

    A batch is twice the last one while they are used up within *hold*, and half of it when not;
    what is left then is given back with the next question. Charged when it is taken and used later,
    so in any window all together never pass more than the limit of *store* and *batch_max* for each
    process. What a process has when it ends is lost. A request that may use only a share of the
    quota asks *store* itself.
    """

    def __init__(
        self, store: Limiter, *, batch_max: int | None = None, hold: timedelta = _SECOND
    ) -> None:
        check_kind("store", store, Limiter, "the limiter to take batches of, as a RedisLimiter")
        super().__init__(store.limits, clock=store.clock)
        least = min(limit.quota for limit in store.limits)
        if any(limit.held for limit in store.limits):
            raise ValueError(
                "a limit on work under way cannot be taken ahead: it would count work that does "
                "not exist; ask its store for it"
            )
        batch_max = max(1, least // 10) if batch_max is None else batch_max
        check_whole("batch_max", batch_max, 1, least, "the store could never give so much")
        check_duration("hold", hold, "what was taken could never be used")
        self._store = store
        self._batch_max = batch_max
        self._hold = nanos_of(hold)
        self._leases: dict[tuple[str, ...], Lease] = {}
        self._lock = Lock()
        self._sweep_at = 0

    def allow(self, key: str, cost: int = 1) -> bool:
        """As `decide`, without the reasons."""
        lease = self._leases.get((key,) * len(self.limits))
        if lease is not None and lease.left >= cost > 0 and self._take(lease, cost):
            return True
        return self.decide(key, cost).allowed

    def decide(
        self, keys: Keys, cost: int = 1, *, patience: timedelta = _ZERO, share: float = 1.0
    ) -> Decision:
        """See `Limiter.decide`."""
        check_whole("cost", cost, 0)
        names = self._keys(keys)
        if share < 1 or not cost:
            return self._store.decide(names, cost, patience=patience, share=share)
        lease = self._lease(names)
        if self._take(lease, cost):
            return self._leased(lease, names, cost)
        with lease.asking:
            # Another one may have asked meanwhile.
            if self._take(lease, cost):
                return self._leased(lease, names, cost)
            old = self._expire(lease)
            if old is not None:
                self._store.give_back(*old)
            size = max(cost, lease.size)
            decision = self._store.decide(names, size)
            smaller = self._smaller(decision, size, cost)
            if smaller:
                size = smaller
                decision = self._store.decide(names, size)
            if not decision.allowed and patience:
                return self._store.decide(names, cost, patience=patience)
            return self._begin(lease, decision, size, cost)

    async def decide_async(
        self, keys: Keys, cost: int = 1, *, patience: timedelta = _ZERO, share: float = 1.0
    ) -> Decision:
        """See `Limiter.decide`."""
        check_whole("cost", cost, 0)
        names, store = self._keys(keys), self._store
        if share < 1 or not cost:
            return await store.decide_async(names, cost, patience=patience, share=share)
        lease = self._lease(names)
        if self._take(lease, cost):
            return self._leased(lease, names, cost)
        async with lease.asking_async:
            if self._take(lease, cost):
                return self._leased(lease, names, cost)
            old = self._expire(lease)
            if old is not None:
                await store.give_back_async(*old)
            size = max(cost, lease.size)
            decision = await store.decide_async(names, size)
            smaller = self._smaller(decision, size, cost)
            if smaller:
                size = smaller
                decision = await store.decide_async(names, size)
            if not decision.allowed and patience:
                return await store.decide_async(names, cost, patience=patience)
            return self._begin(lease, decision, size, cost)

    def charge(self, keys: Keys, cost: int) -> Decision:
        """See `Limiter.charge`."""
        return self._store.charge(keys, cost)

    async def charge_async(self, keys: Keys, cost: int) -> Decision:
        """As `charge`."""
        return await self._store.charge_async(keys, cost)

    def give_back(self, decision: Decision, cost: int | None = None) -> None:
        """See `Limiter.give_back`; to the batch that this process has."""
        if not decision.allowed or decision.degraded:
            return
        amount = decision.cost if cost is None else cost
        check_whole("cost", amount, 0, decision.cost, "more than was charged")
        lease = self._lease(decision.keys)
        with self._lock:
            lease.left = min(self._batch_max, lease.left + amount)

    async def give_back_async(self, decision: Decision, cost: int | None = None) -> None:
        """As `give_back`."""
        self.give_back(decision, cost)

    def reset(self, key: str) -> None:
        """See `Limiter.reset`."""
        with self._lock:
            self._leases.pop(self._keys(key), None)
        self._store.reset(key)

    def statistics(self) -> LimiterStatistics:
        """See `Limiter.statistics`; the keys are those of which this process has a batch."""
        told = self._store.statistics()
        return replace(told, keys=len(self._leases), waiting=self._queue.waiting)

    def _lease(self, names: tuple[str, ...]) -> Lease:
        found = self._leases.get(names)
        if found is not None:
            return found
        with self._lock:
            now = self.clock.monotonic()
            if len(self._leases) >= LEASES_MAX and now >= self._sweep_at:
                self._sweep_at = now + _SWEEP_NANOS
                self._leases = {k: one for k, one in self._leases.items() if one.ends > now}
            if len(self._leases) >= LEASES_MAX:
                return Lease()
            return self._leases.setdefault(names, Lease())

    def _take(self, lease: Lease, cost: int) -> bool:
        """Use *cost* of what is left, if that is enough and has not ended."""
        with self._lock:
            if lease.left < cost or self.clock.monotonic() >= lease.ends:
                return False
            lease.left -= cost
            return True

    def _expire(self, lease: Lease) -> tuple[Decision, int] | None:
        """End *lease*: what is to be given back of it. Its end says how large the next one is."""
        with self._lock:
            left, decision = lease.left, lease.decision
            in_time = self.clock.monotonic() < lease.ends
            lease.size = min(self._batch_max, lease.size * 2) if in_time else lease.size // 2 or 1
            lease.left = 0
            lease.decision = None
            if not left or decision is None or decision.degraded:
                return None
            return decision, min(left, decision.cost)

    def _smaller(self, decision: Decision, size: int, cost: int) -> int:
        """What to ask for after a batch was refused: what is there; 0 for nothing."""
        if decision.allowed or decision.degraded or size == cost:
            return 0
        return max(cost, min(decision.left, size - 1))

    def _begin(self, lease: Lease, decision: Decision, size: int, cost: int) -> Decision:
        """Keep what was taken beyond *cost*."""
        if not decision.allowed or decision.degraded:
            lease.size = 1
            return replace(decision, cost=cost)
        with self._lock:
            lease.decision = decision
            lease.left += size - cost
            lease.ends = self.clock.monotonic() + self._hold
        return replace(decision, cost=cost, taken=())

    def _leased(self, lease: Lease, names: tuple[str, ...], cost: int) -> Decision:
        """A decision within a batch; it stands as when that was taken."""
        known = lease.decision
        return Decision(
            allowed=True,
            cost=cost,
            delay_nanos=0,
            retry_nanos=0,
            refused_by=None,
            standings=known.standings if known is not None else (),
            keys=names,
        )
