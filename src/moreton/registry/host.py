"""The registry on a store: who is where, for as long as it says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, cast

from moreton.kernel.ids import new_id
from moreton.kernel.rng import Rng, system_rng
from moreton.kernel.time import Clock, SystemClock
from moreton.registry.core.changes import InstanceChange, InstancesListed
from moreton.registry.core.documents import (
    HEALTH,
    ORDER,
    PREFIX,
    decode,
    encode,
    encode_health,
    encode_order,
    instance_key,
    service_prefix,
)
from moreton.registry.core.errors import InstanceIdTaken, InstanceNotRegistered, RegistryBusy
from moreton.registry.core.fold import Fold
from moreton.registry.core.history import LEFT, Left, encode_left
from moreton.registry.core.instance import (
    TTL_DEFAULT,
    TTL_MAX,
    Instance,
    InstanceId,
    check_service_name,
    check_ttl,
)
from moreton.registry.core.standing import Health, InstanceKind, Order
from moreton.store import (
    Compare,
    Delete,
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
_TTL_ROUNDING = timedelta(seconds=1)
# Of so many instances this node remembers when it heard from them last.
_HEARD_MAX = 100_000


class FencedWrite(Protocol):
    """`Term.write`: a transaction that is refused when its writer leads no longer."""

    async def __call__(self, then: Sequence[Op], *, compare: Sequence[Compare] = ()) -> TxnResult:
        """Do *then* if every *compare* holds and the writer leads. Raises `FencedOff`."""
        ...


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

    async def register(self, instance: Instance, *, ttl: timedelta = TTL_DEFAULT) -> Lease:
        """Begin or change a registration; it lives for *ttl* after this and each renewal.

        A persistent one lives until it is deregistered. The same id from the same address and
        port is the same instance: its lease goes on, and so do its health and an order to it.
        Raises `InstanceIdTaken` if the id lives elsewhere, `InstanceNotValid` for a bad ttl.
        """
        check_ttl(ttl)
        for _ in range(_ATTEMPTS_MAX):
            found = await self._try_register(instance, ttl)
            if found is not None:
                self._hear(instance.service, instance.id)
                return found
        raise RegistryBusy(
            service=instance.service, instance_id=instance.id, attempts=_ATTEMPTS_MAX
        )

    async def renew(self, service: str, instance_id: str) -> timedelta:
        """Put off the end of a registration; its ttl.

        Raises `InstanceNotRegistered`: register it again.
        """
        found = await self._read(service, instance_id)
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
            found = await self._read(service, instance_id)
            if found is None:
                raise InstanceNotRegistered(service=service, instance_id=instance_id)
            unchanged = [Compare.mod(key, "=", found.mod_revision)]
            left = Put(LEFT, encode_left(Left(service, instance_id, by, why)))
            gone: list[Op] = [Delete(key), Delete(key + b"/", prefix_end(key + b"/")), left]
            if (await (write or self._write)(gone, compare=unchanged)).succeeded:
                self._heard.pop((service, instance_id), None)
                await self._revoke(found.lease)
                return
        raise RegistryBusy(service=service, instance_id=instance_id, attempts=_ATTEMPTS_MAX)

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

    async def write_health(
        self, found: Mapping[tuple[str, InstanceId], Health], write: FencedWrite
    ) -> None:
        """Tell what checks found, as the leader; of what is not registered any more, nothing.

        Raises what *write* raises.
        """
        for (service, instance_id), health in found.items():
            await self._write_health(service, instance_id, health, write)

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
        changes = self._changes(_start(service, prefix), from_revision)
        try:
            yield changes
        finally:
            await changes.aclose()

    async def _changes(
        self, start: bytes, from_revision: int | None
    ) -> AsyncGenerator[InstanceChange, None]:
        end = prefix_end(start)
        while True:
            try:
                if from_revision is None:
                    found = await self._store.range(start, end)
                    fold = Fold(found.kvs)
                    yield InstancesListed(found.revision, fold.instances())
                    from_revision = seen = found.revision + 1
                else:
                    fold, seen = await self._before(start, end, from_revision)
                async with self._store.watch(start, end, from_revision=seen) as batches:
                    async for batch in batches:
                        for change in fold.apply(batch):
                            if batch.revision >= from_revision:
                                yield change
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

    async def _try_register(self, instance: Instance, ttl: timedelta) -> Lease | None:
        """`None` if someone else changed the instance meanwhile."""
        key, value = instance_key(instance.service, instance.id), encode(instance)
        found = await self._read(instance.service, instance.id)
        if found is None:
            compare = [Compare.version(key, "=", 0)]
        else:
            compare = [Compare.mod(key, "=", found.mod_revision)]
            _refuse_stranger(found, instance)
        stays = instance.kind is InstanceKind.PERSISTENT
        lease = None if stays else await self._same_lease(found, ttl)
        is_same = found is not None and found.lease == lease and (stays or lease is not None)
        if found is not None and is_same and found.value == value:
            return Lease(instance, lease, ttl, found.mod_revision)
        granted = lease if is_same or stays else await self._store.grant(ttl)
        operations: list[Op] = [Put(key, value, granted)]
        if found is not None and not is_same:
            await self._take_along(instance, granted, compare, operations)
        try:
            written = await self._store.txn(compare, operations)
        except LeaseNotFound:
            return None
        if written.succeeded and found is not None and not is_same:
            await self._revoke(found.lease)
        if not written.succeeded:
            await self._revoke(None if is_same else granted)
            return None
        return Lease(instance, granted, ttl, written.revision)

    async def _take_along(
        self,
        instance: Instance,
        lease: LeaseId | None,
        compare: list[Compare],
        operations: list[Op],
    ) -> None:
        """What was found of its health hangs on *lease* from now on, as the instance does."""
        key = instance_key(instance.service, instance.id, HEALTH)
        for kv in (await self._store.range(key)).kvs:
            compare.append(Compare.mod(key, "=", kv.mod_revision))
            operations.append(Put(key, kv.value, lease))

    async def _write_health(
        self, service: str, instance_id: str, health: Health, write: FencedWrite
    ) -> None:
        key = instance_key(service, instance_id)
        for _ in range(_ATTEMPTS_MAX):
            found = await self._read(service, instance_id)
            if found is None:
                return
            unchanged = [Compare.mod(key, "=", found.mod_revision)]
            put = Put(
                instance_key(service, instance_id, HEALTH), encode_health(health), found.lease
            )
            try:
                if (await write([put], compare=unchanged)).succeeded:
                    return
            except LeaseNotFound:
                return
        raise RegistryBusy(service=service, instance_id=instance_id, attempts=_ATTEMPTS_MAX)

    async def _write(self, then: Sequence[Op], *, compare: Sequence[Compare] = ()) -> TxnResult:
        return await self._store.txn(compare, then)

    def _hear(self, service: str, instance_id: str) -> None:
        """The one heard last is last, so that the first are the ones to forget."""
        who = (service, instance_id)
        self._heard.pop(who, None)
        self._heard[who] = self._clock.wall()
        if len(self._heard) > _HEARD_MAX:
            del self._heard[next(iter(self._heard))]

    async def _same_lease(self, found: KeyValue | None, ttl: timedelta) -> LeaseId | None:
        """The lease that *found* hangs on, renewed, if it lives and has this *ttl*."""
        if found is None or found.lease is None:
            return None
        try:
            alive_for = await self._store.keep_alive(found.lease)
        except LeaseNotFound:
            return None
        # etcd rounds a ttl up to whole seconds.
        return found.lease if ttl <= alive_for < ttl + _TTL_ROUNDING else None

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

    async def _read(self, service: str, instance_id: str) -> KeyValue | None:
        found = await self._store.range(instance_key(service, instance_id))
        return found.kvs[0] if found.kvs else None

    async def _revoke(self, lease: LeaseId | None) -> None:
        if lease is None:
            return
        try:
            await self._store.revoke(lease)
        except LeaseNotFound:
            return  # it ended by itself


def _start(service: str | None, prefix: str) -> bytes:
    if service is None:
        return PREFIX + prefix.encode()
    check_service_name(service)
    return service_prefix(service)


def _refuse_stranger(found: KeyValue, instance: Instance) -> None:
    holder = decode(found.value)
    if holder is not None and holder.endpoint != instance.endpoint:
        raise InstanceIdTaken(
            service=instance.service,
            instance_id=instance.id,
            holder=holder.endpoint,
            asked=instance.endpoint,
        )
