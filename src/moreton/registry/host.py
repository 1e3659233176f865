"""The registry on a store: who is where, for as long as it says so."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias, cast

from moreton.kernel.ids import new_id
from moreton.kernel.rng import Rng, system_rng
from moreton.kernel.time import Clock, SystemClock
from moreton.registry.core.changes import InstanceChange, InstancesListed
from moreton.registry.core.documents import (
    KNOWN,
    ORDER,
    PREFIX,
    encode_order,
    instance_key,
    service_prefix,
)
from moreton.registry.core.errors import InstanceNotRegistered, RegistryBusy
from moreton.registry.core.faults import readable
from moreton.registry.core.fold import Fold
from moreton.registry.core.history import Left
from moreton.registry.core.instance import (
    TTL_DEFAULT,
    TTL_MAX,
    Instance,
    InstanceId,
    check_service_name,
    check_ttl,
)
from moreton.registry.core.standing import (
    OUTPUT_CHARS_MAX,
    CheckResult,
    CheckStatus,
    Order,
)
from moreton.registry.registering import FencedWrite, Registering
from moreton.registry.telling import Telling, ending
from moreton.store import (
    Compare,
    KeyValue,
    LeaseId,
    Put,
    Range,
    RangeResult,
    Store,
    TxnResult,
    prefix_end,
)
from moreton.store.core.model import TXN_OPS_MAX, Op
from moreton.store.errors import Compacted, FutureRevision, LeaseNotFound

# Two programs that use one id may undo each other's attempt; more than this is not by chance.
_ATTEMPTS_MAX = 8
# A store of several machines answers these together; one in this process needs no company.
_RENEWALS_AT_ONCE = 64
# A transaction has room for what is written of each, and for who writes.
_NEW_AT_ONCE = TXN_OPS_MAX // 4
# Of so many instances this node remembers when it heard from them last.
_HEARD_MAX = 100_000

# What the registry is as a whole, and what changed in it just now.
Step: TypeAlias = tuple[Fold, Sequence[InstanceChange]]


@dataclass(frozen=True, slots=True)
class Lease:
    """What a registered instance holds: renew it well before *ttl* is over.

    A persistent one has no *lease* and need not renew.
    """

    instance: Instance
    lease: LeaseId | None
    ttl: timedelta
    revision: int


@dataclass(frozen=True, slots=True)
class InstanceList:
    """Instances in order of service and id, as of *revision*."""

    revision: int
    instances: tuple[Instance, ...]


class Registry:
    """Instances, those with leases and those that stay, in *store*.

    An ephemeral instance that does not renew is gone no sooner than its ttl after the last
    renewal, and no later than the store's timer after that. A renewal writes nothing to the
    store's log. What is read is effective: orders and health count in it.
    """

    def __init__(self, store: Store, *, clock: Clock | None = None, rng: Rng | None = None) -> None:
        self._store = store
        self._registering = Registering(store)
        self._clock = clock or SystemClock()
        self._rng = rng or cast("Rng", system_rng())
        self._heard: dict[tuple[str, str], datetime] = {}

    def new_instance_id(self) -> InstanceId:
        """An id that nobody has."""
        return InstanceId(new_id(self._clock.wall(), self._rng))

    def wall(self) -> datetime:
        """The calendar time, for what people read."""
        return self._clock.wall()

    def last_heartbeat(self, service: str, instance_id: str) -> datetime | None:
        """When the instance registered or renewed last at this node, as far as it remembers."""
        return self._heard.get((service, instance_id))

    async def register(
        self,
        instance: Instance,
        *,
        ttl: timedelta = TTL_DEFAULT,
        write: FencedWrite | None = None,
    ) -> Lease:
        """Begin or change a registration; it lives for *ttl* after this and each renewal.

        A persistent one lives until it is deregistered. The same id from the same address and
        port is the same instance: its lease goes on, and so do its health and an order to it.
        *write* is how to do it as the leader.
        Raises `InstanceIdTaken` if the id lives elsewhere, `InstanceNotValid` for a bad ttl.
        """
        check_ttl(ttl)
        registering = self._registering if write is None else Registering(self._store, write)
        for _ in range(_ATTEMPTS_MAX):
            done = await registering.register(instance, ttl, self._clock.wall())
            if done is not None:
                self._hear(instance.service, instance.id)
                return Lease(instance, done[0], ttl, done[1])
        raise RegistryBusy(
            service=instance.service, instance_id=instance.id, attempts=_ATTEMPTS_MAX
        )

    async def register_persistent(
        self, instances: Sequence[Instance], *, write: FencedWrite | None = None
    ) -> None:
        """As `register` for each of *instances*, all different and persistent.

        Those that were not there come many at once, so that who watches hears of them so, too.
        """
        registering = self._registering if write is None else Registering(self._store, write)
        for first in range(0, len(instances), _NEW_AT_ONCE):
            some = instances[first : first + _NEW_AT_ONCE]
            if await registering.register_new(some, self._clock.wall()):
                for instance in some:
                    self._hear(instance.service, instance.id)
            else:
                for instance in some:
                    await self.register(instance, write=write)

    async def renew(self, service: str, instance_id: str) -> timedelta:
        """Put off the end of a registration; its ttl.

        Raises `InstanceNotRegistered`: register it again.
        """
        found = await self._registering.read(service, instance_id)
        ttl = await self._renewed(found, service, instance_id)
        if ttl is None:
            raise InstanceNotRegistered(service=service, instance_id=instance_id)
        return ttl

    async def renew_many(self, places: Sequence[tuple[str, str]]) -> list[timedelta | None]:
        """As `renew` for each service and id; `None` for what is to be registered again.

        One request to the store reads `TXN_OPS_MAX` of them.
        """
        found: list[KeyValue | None] = []
        for first in range(0, len(places), TXN_OPS_MAX):
            keys = [instance_key(*place) for place in places[first : first + TXN_OPS_MAX]]
            for read in (await self._store.txn(then=[Range(key) for key in keys])).results:
                assert isinstance(read, RangeResult), "a range is answered by what is in it"
                found.append(read.kvs[0] if read.kvs else None)
        ttls: list[timedelta | None] = [None] * len(places)

        async def renew(numbers: range) -> None:
            for number in numbers:
                ttls[number] = await self._renewed(found[number], *places[number])

        starts = range(min(_RENEWALS_AT_ONCE, len(places)))
        shares = (range(first, len(places), _RENEWALS_AT_ONCE) for first in starts)
        await asyncio.gather(*map(renew, shares))
        return ttls

    async def give_time(self) -> None:
        """Let each registration live for its whole ttl from now on, if it still does.

        For a registry that was away: nobody could renew meanwhile.
        """
        found = await self._store.range(PREFIX, prefix_end(PREFIX))
        for lease in {kv.lease for kv in found.kvs if kv.lease is not None}:
            with contextlib.suppress(LeaseNotFound):
                await self._store.keep_alive(lease)

    async def deregister(
        self,
        service: str,
        instance_id: str,
        *,
        by: str = "",
        why: str = "",
        write: FencedWrite | None = None,
    ) -> None:
        """End a registration now, and with it what was said of it. Raises `InstanceNotRegistered`.

        *by* whom and *why* is for those who read what happened; *write* is how to do it as the
        leader.
        """
        key = instance_key(service, instance_id)
        for _ in range(_ATTEMPTS_MAX):
            found = await self._registering.read(service, instance_id)
            if found is None:
                if await self._forget_fallen(Left(service, instance_id, by, why)):
                    return
                raise InstanceNotRegistered(service=service, instance_id=instance_id)
            unchanged = [Compare.mod(key, "=", found.mod_revision)]
            gone = ending(Left(service, instance_id, by, why))
            if (await (write or self._write)(gone, compare=unchanged)).succeeded:
                self._heard.pop((service, instance_id), None)
                await self._registering.revoke(found.lease)
                return
        raise RegistryBusy(service=service, instance_id=instance_id, attempts=_ATTEMPTS_MAX)

    async def _forget_fallen(self, left: Left) -> bool:
        """Forget an instance that is not registered any more; whether anything was known of it."""
        key = instance_key(left.service, left.id)
        known = Compare.version(instance_key(left.service, left.id, KNOWN), ">", 0)
        done = await self._store.txn([Compare.version(key, "=", 0), known], ending(left))
        return done.succeeded

    async def set_order(self, service: str, instance_id: str, order: Order) -> None:
        """Order a registered instance to be in another state; the last order counts.

        Raises `InstanceNotRegistered`.
        """
        registered = [Compare.version(instance_key(service, instance_id), ">", 0)]
        put = Put(instance_key(service, instance_id, ORDER), encode_order(order))
        if not (await self._store.txn(registered, [put])).succeeded:
            raise InstanceNotRegistered(service=service, instance_id=instance_id)

    async def clear_order(self, service: str, instance_id: str) -> bool:
        """Take the order to an instance back; whether there was one."""
        return await self._store.delete(instance_key(service, instance_id, ORDER)) > 0

    async def report(
        self, service: str, instance_id: str, check_id: str, status: CheckStatus, output: str = ""
    ) -> None:
        """Say what a check with a ttl found; to be said again within the ttl.

        What does not change writes nothing. Raises `InstanceNotRegistered`, `CheckUnknown`.
        """
        seen = readable(output[:OUTPUT_CHARS_MAX])
        result = CheckResult(check_id, status, self._clock.wall(), seen)
        for _ in range(_ATTEMPTS_MAX):
            if await self._registering.report(service, instance_id, result) is not None:
                self._hear(service, instance_id)
                return
        raise RegistryBusy(service=service, instance_id=instance_id, attempts=_ATTEMPTS_MAX)

    def telling(self, write: FencedWrite | None = None) -> Telling:
        """How the leader writes about instances: by *write*, so that a deposed one cannot."""
        return Telling(self._store, write or self._write)

    async def instances(self, service: str | None = None, *, prefix: str = "") -> InstanceList:
        """All instances; those of one *service*; or those of services that begin with *prefix*."""
        start = _start(service, prefix)
        found = await self._store.range(start, prefix_end(start))
        return InstanceList(found.revision, Fold(found.kvs).instances())

    @asynccontextmanager
    async def watch(
        self, service: str | None = None, *, prefix: str = "", from_revision: int | None = None
    ) -> AsyncIterator[AsyncIterator[InstanceChange]]:
        """Everything there is as one `InstancesListed`, then each change, in order.

        With *from_revision* the changes from there on, without the list. When the history that
        was still to be told is gone, another `InstancesListed` says all there is.
        """
        steps = self._steps(_start(service, prefix), from_revision)
        changes = _flat(steps)
        try:
            yield changes
        finally:
            await changes.aclose()
            await steps.aclose()

    @asynccontextmanager
    async def following(self) -> AsyncIterator[AsyncIterator[Step]]:
        """As `watch` of everything, with all that is said, at which the changes arrived.

        The fold goes on changing: read it before the next step.
        """
        steps = self._steps(PREFIX, None)
        try:
            yield steps
        finally:
            await steps.aclose()

    async def _steps(self, start: bytes, from_revision: int | None) -> AsyncGenerator[Step, None]:
        end = prefix_end(start)
        while True:
            try:
                if from_revision is None:
                    found = await self._store.range(start, end)
                    fold = Fold(found.kvs)
                    yield fold, [InstancesListed(found.revision, fold.instances())]
                    from_revision = seen = found.revision + 1
                else:
                    fold, seen = await self._before(start, end, from_revision)
                async with self._store.watch(start, end, from_revision=seen) as batches:
                    async for batch in batches:
                        changes = fold.apply(batch)
                        if changes and batch.revision >= from_revision:
                            yield fold, changes
            except Compacted:
                from_revision = None

    async def _before(self, start: bytes, end: bytes | None, revision: int) -> tuple[Fold, int]:
        """All there was just before *revision*, or is now, and where the changes go on."""
        if revision <= 1:
            return Fold(), revision
        try:
            found = await self._store.range(start, end, revision=revision - 1)
        except FutureRevision:
            found = await self._store.range(start, end)
            return Fold(found.kvs), found.revision + 1
        return Fold(found.kvs), revision

    async def _write(self, then: Sequence[Op], *, compare: Sequence[Compare] = ()) -> TxnResult:
        return await self._store.txn(compare, then)

    def _hear(self, service: str, instance_id: str) -> None:
        """The one heard last is last, so that the first are the ones to forget."""
        who = (service, instance_id)
        self._heard.pop(who, None)
        self._heard[who] = self._clock.wall()
        if len(self._heard) > _HEARD_MAX:
            del self._heard[next(iter(self._heard))]

    async def _renewed(
        self, found: KeyValue | None, service: str, instance_id: str
    ) -> timedelta | None:
        """What is left of a registration that was *found* so; `None`: nothing."""
        if found is None:
            return None
        if found.lease is None:
            return TTL_MAX  # it is persistent, and need not
        try:
            ttl = await self._store.keep_alive(found.lease)
        except LeaseNotFound:
            return None
        self._hear(service, instance_id)
        return ttl


async def _flat(steps: AsyncIterator[Step]) -> AsyncGenerator[InstanceChange, None]:
    async for _, changes in steps:
        for change in changes:
            yield change


def _start(service: str | None, prefix: str) -> bytes:
    if service is None:
        return PREFIX + prefix.encode()
    check_service_name(service)
    return service_prefix(service)
