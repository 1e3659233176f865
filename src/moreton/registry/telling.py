"""What the leader writes about instances: their health, and that one fell for good."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TypeAlias

from moreton.registry.core.checks import Care
from moreton.registry.core.documents import (
    CARE,
    HEALTH,
    KNOWN,
    ORDER,
    encode_care,
    encode_health,
    instance_key,
)
from moreton.registry.core.errors import RegistryBusy
from moreton.registry.core.history import LEFT, Left, encode_left
from moreton.registry.core.instance import InstanceId
from moreton.registry.core.standing import CheckStatus, Health
from moreton.registry.registering import FencedWrite, Registering
from moreton.store import Compare, Delete, Put, Store, prefix_end
from moreton.store.core.model import Op
from moreton.store.errors import LeaseNotFound

# So many instances in one transaction: two comparisons and operations each fit the store's 128.
_BATCH = 32
_ATTEMPTS_MAX = 8


# What must not have changed, and what to do.
_Plan: TypeAlias = tuple[list[Compare], list[Op]]


class Telling:
    """The leader's pen: everything is written by *write*. Raises what that raises."""

    def __init__(self, store: Store, write: FencedWrite) -> None:
        self._store = store
        self._registering = Registering(store)
        self._write = write

    async def health(self, found: Mapping[tuple[str, InstanceId], Health]) -> None:
        """What checks found; of what is not registered any more, nothing.

        Many at once: a mass failure is a few transactions.
        """
        rest = iter(found.items())
        while batch := dict(islice(rest, _BATCH)):
            if not await self._try_health(batch):
                for who, health in batch.items():
                    await self._one_health(who, health)

    async def let_go(self, who: Iterable[tuple[str, InstanceId]]) -> None:
        """Forget that fallen instances were there: they are neither counted nor kept in use."""
        rest = iter(who)
        while batch := list(islice(rest, _BATCH)):
            plans = await asyncio.gather(*(self._plan_end(*each) for each in batch))
            if not await self._try(plans):
                # Who changed meanwhile came back, and is looked at anew.
                for plan in plans:
                    await self._try([plan])

    async def forget_order(self, service: str, instance_id: InstanceId) -> None:
        """Take back an order to an instance that is not registered."""
        unregistered = Compare.version(instance_key(service, instance_id), "=", 0)
        await self._try([([unregistered], [Delete(instance_key(service, instance_id, ORDER))])])

    async def care(self, wanted: Mapping[str, Care], known: Iterable[str]) -> None:
        """Let *wanted* be what is done for services; for the others of *known*, the usual."""
        for service in sorted({*wanted, *known}):
            key = instance_key(service, "", CARE)
            found = (await self._store.range(key)).kvs
            care = wanted.get(service, Care())
            if care == Care():
                if found:
                    await self._write([Delete(key)])
            elif not found or found[0].value != encode_care(care):
                await self._write([Put(key, encode_care(care))])

    async def _one_health(self, who: tuple[str, InstanceId], health: Health) -> None:
        for _ in range(_ATTEMPTS_MAX):
            if await self._try_health({who: health}):
                return
        raise RegistryBusy(service=who[0], instance_id=who[1], attempts=_ATTEMPTS_MAX)

    async def _try_health(self, batch: Mapping[tuple[str, InstanceId], Health]) -> bool:
        """Whether that was written as one, as nobody changed any of them meanwhile."""
        plans = await asyncio.gather(*(self._plan(*who, health) for who, health in batch.items()))
        return await self._try(plans)

    async def _try(self, plans: Sequence[_Plan]) -> bool:
        compare = [each for plan in plans for each in plan[0]]
        operations = [each for plan in plans for each in plan[1]]
        if not operations:
            return True
        try:
            return (await self._write(operations, compare=compare)).succeeded
        except LeaseNotFound:
            return False

    async def _plan(self, service: str, instance_id: InstanceId, health: Health) -> _Plan:
        found = await self._registering.read(service, instance_id)
        if found is None:
            return [], []
        operations: list[Op] = []
        before = await self._registering.read(service, instance_id, HEALTH)
        value = encode_health(health)
        if before is None or before.value != value or before.lease != found.lease:
            key = instance_key(service, instance_id, HEALTH)
            operations.append(Put(key, value, found.lease))
        if health.status is not CheckStatus.CRITICAL:
            # It is in use again, and counts.
            known = await self._registering.read(service, instance_id, KNOWN)
            if known is None or known.value != found.value:
                operations.append(Put(instance_key(service, instance_id, KNOWN), found.value))
        return [Compare.mod(found.key, "=", found.mod_revision)], operations

    async def _plan_end(self, service: str, instance_id: InstanceId) -> _Plan:
        found = await self._registering.read(service, instance_id)
        known = await self._registering.read(service, instance_id, KNOWN)
        if known is None:
            return [], []
        mod = 0 if found is None else found.mod_revision
        unchanged = [
            Compare.mod(instance_key(service, instance_id), "=", mod),
            Compare.mod(known.key, "=", known.mod_revision),
        ]
        return unchanged, [Delete(known.key)]


def ending(left: Left) -> list[Op]:
    """How to end a registration, and with it what was said of it."""
    key = instance_key(left.service, left.id)
    return [Delete(key), Delete(key + b"/", prefix_end(key + b"/")), Put(LEFT, encode_left(left))]
