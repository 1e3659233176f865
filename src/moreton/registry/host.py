"""The registry on a store: who is where, for as long as it says so."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from moreton.kernel.ids import new_id
from moreton.kernel.rng import Rng, system_rng
from moreton.kernel.time import Clock, SystemClock
from moreton.registry.core.changes import InstanceChange, InstancesListed, to_change
from moreton.registry.core.documents import (
    PREFIX,
    decode,
    encode,
    instance_key,
    service_prefix,
)
from moreton.registry.core.errors import InstanceIdTaken, InstanceNotRegistered, RegistryBusy
from moreton.registry.core.instance import (
    TTL_DEFAULT,
    Instance,
    InstanceId,
    check_service_name,
    check_ttl,
)
from moreton.store import Compare, Delete, KeyValue, LeaseId, Put, Store, prefix_end
from moreton.store.errors import Compacted, LeaseNotFound

# Two programs that use one id may undo each other's attempt; more than this is not by chance.
_ATTEMPTS_MAX = 8
_TTL_ROUNDING = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Lease:
    """What a registered instance holds: renew it well before *ttl* is over."""

    instance: Instance
    lease: LeaseId
    ttl: timedelta
    revision: int


@dataclass(frozen=True, slots=True)
class InstanceList:
    """Instances in order of service and id, as of *revision*."""

    revision: int
    instances: tuple[Instance, ...]


class Registry:
    """Instances with leases, in *store*.

    An instance that does not renew is gone no sooner than its ttl after the last renewal, and
    no later than the store's timer after that. A renewal writes nothing to the store's log.
    """

    def __init__(self, store: Store, *, clock: Clock | None = None, rng: Rng | None = None) -> None:
        self._store = store
        self._clock = clock or SystemClock()
        self._rng = rng or cast("Rng", system_rng())

    def new_instance_id(self) -> InstanceId:
        """An id that nobody has."""
        return InstanceId(new_id(self._clock.wall(), self._rng))

    async def register(self, instance: Instance, *, ttl: timedelta = TTL_DEFAULT) -> Lease:
        """Begin or change a registration; it lives for *ttl* after this and each renewal.

        The same id from the same address and port is the same instance: its lease goes on.
        Raises `InstanceIdTaken` if the id lives elsewhere, `InstanceNotValid` for a bad ttl.
        """
        check_ttl(ttl)
        for _ in range(_ATTEMPTS_MAX):
            found = await self._try_register(instance, ttl)
            if found is not None:
                return found
        raise RegistryBusy(
            service=instance.service, instance_id=instance.id, attempts=_ATTEMPTS_MAX
        )

    async def renew(self, service: str, instance_id: str) -> timedelta:
        """Put off the end of a registration; its ttl.

        Raises `InstanceNotRegistered`: register it again.
        """
        found = await self._read(service, instance_id)
        if found is None or found.lease is None:
            raise InstanceNotRegistered(service=service, instance_id=instance_id)
        try:
            return await self._store.keep_alive(found.lease)
        except LeaseNotFound as error:
            raise InstanceNotRegistered(service=service, instance_id=instance_id) from error

    async def deregister(self, service: str, instance_id: str) -> None:
        """End a registration now. Raises `InstanceNotRegistered`."""
        for _ in range(_ATTEMPTS_MAX):
            found = await self._read(service, instance_id)
            if found is None:
                raise InstanceNotRegistered(service=service, instance_id=instance_id)
            unchanged = [Compare.mod(found.key, "=", found.mod_revision)]
            if (await self._store.txn(unchanged, [Delete(found.key)])).succeeded:
                await self._revoke(found.lease)
                return
        raise RegistryBusy(service=service, instance_id=instance_id, attempts=_ATTEMPTS_MAX)

    async def instances(self, service: str | None = None, *, prefix: str = "") -> InstanceList:
        """All instances; those of one *service*; or those of services that begin with *prefix*."""
        start = _start(service, prefix)
        found = await self._store.range(start, prefix_end(start))
        decoded = (decode(kv.value) for kv in found.kvs)
        known = [each for each in decoded if each is not None]
        # Keys order "shop-a/" before "shop/".
        known.sort(key=lambda each: (each.service, each.id))
        return InstanceList(found.revision, tuple(known))

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
            if from_revision is None:
                found = await self._store.range(start, end)
                decoded = (decode(kv.value) for kv in found.kvs)
                known = tuple(each for each in decoded if each is not None)
                yield InstancesListed(found.revision, known)
                from_revision = found.revision + 1
            try:
                async with self._store.watch(start, end, from_revision=from_revision) as batches:
                    async for batch in batches:
                        for event in batch.events:
                            change = to_change(event)
                            if change is not None:
                                yield change
            except Compacted:
                from_revision = None

    async def _try_register(self, instance: Instance, ttl: timedelta) -> Lease | None:
        """`None` if someone else changed the instance meanwhile."""
        key, value = instance_key(instance.service, instance.id), encode(instance)
        found = await self._read(instance.service, instance.id)
        if found is None:
            unchanged = Compare.version(key, "=", 0)
        else:
            unchanged = Compare.mod(key, "=", found.mod_revision)
            _refuse_stranger(found, instance)
        lease = await self._same_lease(found, ttl)
        if lease is not None and found is not None and found.value == value:
            return Lease(instance, lease, ttl, found.mod_revision)
        granted = lease if lease is not None else await self._store.grant(ttl)
        try:
            written = await self._store.txn([unchanged], [Put(key, value, granted)])
        except LeaseNotFound:
            return None
        if written.succeeded and lease is None and found is not None:
            await self._revoke(found.lease)
        if not written.succeeded:
            await self._revoke(None if lease is not None else granted)
            return None
        return Lease(instance, granted, ttl, written.revision)

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
