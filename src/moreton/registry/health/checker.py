"""The host of health checks: one node of the control plane runs it for all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from datetime import datetime, timedelta
from typing import Any, assert_never

from moreton.kernel.host import MachineHost
from moreton.kernel.quantities import format_duration
from moreton.kernel.rng import Rng, system_rng
from moreton.kernel.time import Clock, SystemClock
from moreton.registry.core.changes import (
    InstanceChange,
    InstanceRegistered,
    InstanceRemoved,
    InstancesListed,
    InstanceUpdated,
)
from moreton.registry.core.fold import Fold
from moreton.registry.core.instance import Instance, InstanceId
from moreton.registry.core.standing import OUTPUT_CHARS_MAX, CheckStatus
from moreton.registry.health.core.keeping import (
    SURVIVORS_MAX,
    Keeping,
    KeepingEffect,
    KeepingEvent,
    Knock,
    Knocked,
    LetGo,
    ServiceSeen,
)
from moreton.registry.health.core.look import Looked
from moreton.registry.health.core.rounds import (
    DeregisterCritical,
    InstanceLost,
    InstanceSeen,
    LookAt,
    LookEnded,
    Rounds,
    RoundsEffect,
    RoundsEvent,
    WriteHealth,
)
from moreton.registry.health.looking import Finding, Looking, knock
from moreton.registry.health.writing import Writing
from moreton.registry.host import Registry
from moreton.registry.registering import FencedWrite

_LOG = logging.getLogger("moreton.registry")
# As many looks at a time as leave the loop time for everything else.
LOOKS_MAX = 128
KNOCKS_MAX = 64
# Who fell is told once in so long: in a mass failure each end of a lease is a change.
_NOTICE_SECONDS = 0.05
_SWEEP_SECONDS = 600.0
# An order outlives its instance for as long as that may come back under the same id.
ORDER_KEPT = timedelta(days=1)


class Checker:
    """Looks at every instance that has checks, and makes sure of those that fell.

    *probes* are how to look, by the type of the probe. `run` while this node leads.
    """

    def __init__(
        self,
        registry: Registry,
        probes: Mapping[type, Looking],
        *,
        clock: Clock | None = None,
        rng: Rng | None = None,
    ) -> None:
        self._registry = registry
        self._probes = probes
        self._clock = clock or SystemClock()
        self._rng = rng or system_rng()

    async def run(self, write: FencedWrite | None = None) -> None:
        """Look and tell, by *write*; until cancelled. Raises the store's errors and `FencedOff`."""
        round_ = _Run(self._registry, self._probes, self._clock, self._rng, write)
        await round_.run()


class _Run:
    """One time of being the one who looks."""

    def __init__(
        self,
        registry: Registry,
        probes: Mapping[type, Looking],
        clock: Clock,
        rng: Rng,
        write: FencedWrite | None,
    ) -> None:
        self._registry = registry
        self._probes = probes
        self._clock = clock
        self._write = write
        self._writing = Writing(registry, write)
        self._rounds: MachineHost[RoundsEvent, RoundsEffect] = MachineHost(
            Rounds(rng=rng), self._perform, clock=clock
        )
        self._keeping: MachineHost[KeepingEvent, KeepingEffect] = MachineHost(
            Keeping(), self._keep, clock=clock
        )
        self._known: dict[tuple[str, InstanceId], Instance] = {}
        self._fold = Fold()
        self._changed: set[str] = set()
        self._with_fallen: set[str] = set()
        self._news = asyncio.Event()
        self._looks = asyncio.Semaphore(LOOKS_MAX)
        self._knocks = asyncio.Semaphore(KNOCKS_MAX)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        work = [
            self._follow(),
            self._notice(),
            self._rounds.run(),
            self._keeping.run(),
            self._writing.run(),
            self._sweep(),
        ]
        tasks = [asyncio.ensure_future(each) for each in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            everything = [*tasks, *self._tasks]
            for task in everything:
                task.cancel()
            await asyncio.gather(*everything, return_exceptions=True)

    async def _follow(self) -> None:
        async with self._registry.following() as steps:
            async for fold, changes in steps:
                if fold is not self._fold:
                    self._changed.update(self._fold.services())
                self._fold = fold
                for change in changes:
                    await self._take(change)
                self._news.set()

    async def _take(self, change: InstanceChange) -> None:
        match change:
            case InstancesListed(_, instances):
                there = {(each.service, each.id): each for each in instances}
                for service, instance_id in self._known.keys() - there.keys():
                    await self._lose(service, instance_id)
                self._changed.update(self._fold.services())
                for instance in instances:
                    await self._see(instance)
            case InstanceRegistered(_, instance) | InstanceUpdated(_, instance, _):
                await self._see(instance)
            case InstanceRemoved(_, service, instance_id, _):
                await self._lose(service, instance_id)
            case _:
                assert_never(change)

    async def _see(self, instance: Instance) -> None:
        self._known[instance.service, instance.id] = instance
        self._changed.add(instance.service)
        registered = self._fold.of(instance.service).get(instance.id)
        if registered is None or registered.registration is None:
            # It is kept in use, and not there to be looked at.
            await self._rounds.tell(InstanceLost(instance.service, instance.id))
        else:
            await self._rounds.tell(InstanceSeen(instance))

    async def _lose(self, service: str, instance_id: InstanceId) -> None:
        self._known.pop((service, instance_id), None)
        self._changed.add(service)
        await self._rounds.tell(InstanceLost(service, instance_id))

    async def _notice(self) -> None:
        """Tell who fell, of the services that changed."""
        while True:
            await self._news.wait()
            self._news.clear()
            changed, self._changed = self._changed, set()
            for service in sorted(changed):
                fallen = self._fold.fallen(service)
                if fallen or service in self._with_fallen:
                    await self._keeping.tell(_seen(self._fold, service, fallen))
                (self._with_fallen.add if fallen else self._with_fallen.discard)(service)
            await asyncio.sleep(_NOTICE_SECONDS)

    async def _sweep(self) -> None:
        """Forget orders to instances that are gone for so long that they will not come back."""
        telling = self._registry.telling(self._write)
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            before = self._clock.wall() - ORDER_KEPT
            for service, instance_id in stale_orders(self._fold, before):
                await telling.forget_order(service, instance_id)

    async def _perform(self, effect: RoundsEffect) -> None:
        match effect:
            case LookAt():
                await self._looks.acquire()
                self._spawn(self._look(effect))
            case WriteHealth(service, instance_id, health):
                self._writing.health(service, instance_id, health)
            case DeregisterCritical(service, instance_id, why):
                _LOG.warning('instance "%s" of "%s" is deregistered: %s', instance_id, service, why)
                self._writing.deregister(service, instance_id, why)
            case _:
                assert_never(effect)

    async def _keep(self, effect: KeepingEffect) -> None:
        match effect:
            case Knock(instance):
                await self._knocks.acquire()
                self._spawn(self._knock(instance))
            case LetGo(service, instance_id, why):
                self._writing.let_go(service, instance_id, why)
            case _:
                assert_never(effect)

    async def _look(self, effect: LookAt) -> None:
        """Look and let the next one look; what it found may have to wait to be told."""
        try:
            began = self._clock.now()
            found = await self._find(effect)
            took = self._clock.now() - began
        finally:
            self._looks.release()
        looked = Looked(found.status, found.output[:OUTPUT_CHARS_MAX], took)
        await self._rounds.tell(LookEnded(effect.place, looked, self._clock.wall()))

    async def _find(self, effect: LookAt) -> Finding:
        check = effect.check
        probe = self._probes.get(type(check.probe))
        if probe is None:
            said = "this control plane may not look at it so"
            return Finding(CheckStatus.CRITICAL, said)
        try:
            async with asyncio.timeout(check.timeout.total_seconds()):
                return await probe(effect.instance, check.probe)
        except TimeoutError:
            return Finding(
                CheckStatus.CRITICAL, f"no answer within {format_duration(check.timeout)}"
            )
        except Exception as error:  # noqa: BLE001 - whatever it was, there was no answer
            return Finding(CheckStatus.CRITICAL, _describe(error))

    async def _knock(self, instance: Instance) -> None:
        try:
            answer = await knock(instance)
        finally:
            self._knocks.release()
        await self._keeping.tell(Knocked(instance.service, instance.id, answer))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _seen(fold: Fold, service: str, fallen: frozenset[InstanceId]) -> ServiceSeen:
    records = fold.of(service)
    up = fold.up(service)
    places = {each.endpoint for x in up if (each := records[x].registration) is not None}
    instances, registered, replaced = {}, set(), set()
    for instance_id in sorted(fallen):
        record = records[instance_id]
        instance = record.registration or record.last_known()
        if instance is None:
            continue
        instances[instance_id] = instance
        if record.registration is not None:
            registered.add(instance_id)
        elif instance.endpoint in places:
            replaced.add(instance_id)
    living = [each for x in sorted(up)[:SURVIVORS_MAX] if (each := records[x].registration)]
    return ServiceSeen(
        service,
        instances,
        frozenset(replaced),
        tuple(living),
        fold.is_protected(service),
        frozenset(registered),
    )


def stale_orders(fold: Fold, before: datetime) -> list[tuple[str, InstanceId]]:
    """The orders of earlier than *before* to instances that are not registered."""
    return [
        (service, instance_id)
        for service in fold.services()
        for instance_id, record in fold.of(service).items()
        if record.registration is None
        and record.known is None
        and record.order is not None
        and record.order.since < before
    ]


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
