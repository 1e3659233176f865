"""How a registration is written: one holder for each id, on a lease or on none."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from moreton.registry.core.checks import Check, TtlProbe
from moreton.registry.core.documents import (
    HEALTH,
    KNOWN,
    REPORT,
    decode,
    decode_report,
    encode,
    encode_report,
    instance_key,
)
from moreton.registry.core.errors import CheckUnknown, InstanceIdTaken, InstanceNotRegistered
from moreton.registry.core.instance import Instance
from moreton.registry.core.standing import CheckResult, CheckStatus, InstanceKind
from moreton.store import Compare, KeyValue, LeaseId, Put, Store, TxnResult
from moreton.store.core.model import Op
from moreton.store.errors import LeaseNotFound

_TTL_ROUNDING = timedelta(seconds=1)


class FencedWrite(Protocol):
    """`Term.write`: a transaction that is refused when its writer leads no longer."""

    async def __call__(self, then: Sequence[Op], *, compare: Sequence[Compare] = ()) -> TxnResult:
        """Do *then* if every *compare* holds and the writer leads. Raises `FencedOff`."""
        ...


class Registering:
    """Attempts at *store*: what comes back is `None` when someone else was quicker."""

    def __init__(self, store: Store, write: FencedWrite | None = None) -> None:
        """*write* is how to write as the leader."""
        self._store = store
        self._write = write

    async def read(self, service: str, instance_id: str, part: str = "") -> KeyValue | None:
        """What is stored in *part* of what is said of an instance."""
        found = await self._store.range(instance_key(service, instance_id, part))
        return found.kvs[0] if found.kvs else None

    async def register(
        self, instance: Instance, ttl: timedelta, now: datetime
    ) -> tuple[LeaseId | None, int] | None:
        """The lease that the registration hangs on, and the revision that wrote it.

        Raises `InstanceIdTaken`.
        """
        key, value = instance_key(instance.service, instance.id), encode(instance)
        found = await self.read(instance.service, instance.id)
        if found is None:
            compare = [Compare.version(key, "=", 0)]
        else:
            compare = [Compare.mod(key, "=", found.mod_revision)]
            _refuse_stranger(found, instance)
        stays = instance.kind is InstanceKind.PERSISTENT
        lease = None if stays else await self.same_lease(found, ttl)
        is_same = found is not None and found.lease == lease and (stays or lease is not None)
        if found is not None and is_same and found.value == value:
            return lease, found.mod_revision
        granted = lease if is_same or stays else await self._store.grant(ttl)
        known = instance_key(instance.service, instance.id, KNOWN)
        operations: list[Op] = [Put(key, value, granted), Put(known, value)]
        if found is not None and not is_same:
            await self._take_along(instance, granted, compare, operations)
        revision = await self.write(compare, operations)
        if revision is None:
            await self.revoke(None if is_same else granted)
            return None
        if found is not None and not is_same:
            await self.revoke(found.lease)
        if found is None:
            await self._report_initially(instance, now)
        return granted, revision

    async def register_new(self, instances: Sequence[Instance], now: datetime) -> bool:
        """Begin the registrations of *instances*, all persistent, as one; not if one was there."""
        pairs = [(instance_key(each.service, each.id), encode(each)) for each in instances]
        known = [instance_key(each.service, each.id, KNOWN) for each in instances]
        operations: list[Op] = [
            put
            for (key, value), copy in zip(pairs, known, strict=True)
            for put in (Put(key, value), Put(copy, value))
        ]
        compare = [Compare.version(key, "=", 0) for key, _ in pairs]
        if await self.write(compare, operations) is None:
            return False
        for instance in instances:
            await self._report_initially(instance, now)
        return True

    async def report(self, service: str, instance_id: str, result: CheckResult) -> LeaseId | None:
        """Tell what is reported of a check with a ttl; renews only, when that is no other.

        Raises `InstanceNotRegistered`, `CheckUnknown`.
        """
        holder = await self.read(service, instance_id)
        instance = None if holder is None else decode(holder.value)
        if holder is None or instance is None:
            raise InstanceNotRegistered(service=service, instance_id=instance_id)
        ttl = _ttl_of(instance, result.id)
        part = f"{REPORT}/{result.id}"
        key = instance_key(service, instance_id, part)
        found = await self.read(service, instance_id, part)
        lease = await self.same_lease(found, ttl)
        before = None if found is None else decode_report(found.value)
        if before is not None and lease is not None and before.status is result.status:
            return lease
        granted = lease or await self._store.grant(ttl)
        mod = 0 if found is None else found.mod_revision
        operations: list[Op] = [Put(key, encode_report(result), granted)]
        if result.status is not CheckStatus.CRITICAL:
            operations.append(Put(instance_key(service, instance_id, KNOWN), holder.value))
        compare = [
            Compare.mod(instance_key(service, instance_id), "=", holder.mod_revision),
            Compare.mod(key, "=", mod),
        ]
        if await self.write(compare, operations) is None:
            await self.revoke(None if lease is not None else granted)
            return None
        if found is not None and lease is None:
            await self.revoke(found.lease)
        return granted

    async def same_lease(self, found: KeyValue | None, ttl: timedelta) -> LeaseId | None:
        """The lease that *found* hangs on, renewed, if it lives and has this *ttl*."""
        if found is None or found.lease is None:
            return None
        try:
            alive_for = await self._store.keep_alive(found.lease)
        except LeaseNotFound:
            return None
        # etcd rounds a ttl up to whole seconds.
        return found.lease if ttl <= alive_for < ttl + _TTL_ROUNDING else None

    async def write(self, compare: list[Compare], operations: list[Op]) -> int | None:
        """The revision, if it was written."""
        try:
            if self._write is not None:
                done = await self._write(operations, compare=compare)
            else:
                done = await self._store.txn(compare, operations)
        except LeaseNotFound:
            return None
        return done.revision if done.succeeded else None

    async def revoke(self, lease: LeaseId | None) -> None:
        """End *lease*, if there is one and it has not ended by itself."""
        if lease is None:
            return
        try:
            await self._store.revoke(lease)
        except LeaseNotFound:
            return

    async def _take_along(
        self,
        instance: Instance,
        lease: LeaseId | None,
        compare: list[Compare],
        operations: list[Op],
    ) -> None:
        """What was found of its health hangs on *lease* from now on, as the instance does."""
        found = await self.read(instance.service, instance.id, HEALTH)
        if found is not None:
            compare.append(Compare.mod(found.key, "=", found.mod_revision))
            operations.append(Put(found.key, found.value, lease))

    async def _report_initially(self, instance: Instance, now: datetime) -> None:
        """A check that passes from the start is as if that had been reported."""
        for check in instance.checks:
            if not check.is_active and check.initial is not CheckStatus.CRITICAL:
                initial = CheckResult(check.id, check.initial, now)
                await self.report(instance.service, instance.id, initial)


def _ttl_of(instance: Instance, check_id: str) -> timedelta:
    """Raises `CheckUnknown` if nobody may report that check."""
    checks: dict[str, Check] = {each.id: each for each in instance.checks}
    check = checks.get(check_id)
    if check is None or not isinstance(check.probe, TtlProbe):
        known = [each.id for each in instance.checks if not each.is_active]
        raise CheckUnknown(
            service=instance.service, instance_id=instance.id, check=check_id, known=known
        )
    return check.probe.ttl


def _refuse_stranger(found: KeyValue, instance: Instance) -> None:
    holder = decode(found.value)
    if holder is not None and holder.endpoint != instance.endpoint:
        raise InstanceIdTaken(
            service=instance.service,
            instance_id=instance.id,
            holder=holder.endpoint,
            asked=instance.endpoint,
        )
