"""Rollouts in the store: begun once, gone on with by whoever asks, at any node."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, cast

from moreton.controlplane.core.rollouts import (
    TELLABLE,
    Rollout,
    RolloutState,
    Stage,
    Step,
    decode,
    encode,
    next_step,
    rollout_key,
    to_document,
)
from moreton.controlplane.rollouts.errors import (
    NoRollout,
    NothingToRestart,
    NotRestartable,
    RolloutContended,
)
from moreton.kernel.ids import new_id
from moreton.kernel.rng import Rng, system_rng
from moreton.registry import Instance, InstanceId, Registry
from moreton.registry.core.instructions import Action
from moreton.registry.instructions import Instructions
from moreton.store import Compare, Put, Store

# A change of an instance or an instruction is looked for this often while somebody waits for it.
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Wish:
    """How a rollout is to be: begun *anew* even when one can be gone on with."""

    by: str = "api"
    batch: int = 1
    limit: timedelta = timedelta(minutes=2)
    force: bool = False
    anew: bool = False


class Rollouts:
    """The rollouts of all services in *store*."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        instructions: Instructions,
        *,
        rng: Rng | None = None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._instructions = instructions
        self._rng = rng or cast("Rng", system_rng())
        self._began = registry.wall()

    async def begin(self, service: str, wish: Wish) -> dict[str, Any]:
        """Begin one, or go on with the one that has not ended.

        Raises `NothingToRestart`, `NotRestartable`, `RolloutContended`.
        """
        held, revision = await self._read(service)
        there = await self._instances(service)
        if held is not None and held.is_open and not wish.anew:
            rollout = await self._go_on(held, there, wish)
        else:
            rollout = self._new(service, there, wish)
        await self._write(rollout, revision)
        return to_document(rollout, await self._step(rollout))

    async def advance(self, service: str, seconds: float) -> dict[str, Any]:
        """Do what is next, and answer once something changed, or after *seconds*.

        Raises `NoRollout`, `RolloutContended`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        first: Step | None = None
        while True:
            rollout, revision = await self._open(service)
            step = await self._step(rollout)
            for instance_id in step.ask:
                await self._instructions.give(
                    service,
                    instance_id,
                    Action.RESTART,
                    token=rollout.token,
                    by=rollout.by,
                    anew=False,
                )
            if step.state is not rollout.state:
                rollout = replace(rollout, state=step.state, reason=step.reason)
                await self._write(rollout, revision)
            changed = first is not None and step != first
            first = first or step
            if changed or step.state is not RolloutState.RUNNING or loop.time() >= deadline:
                return to_document(rollout, step)
            await asyncio.sleep(_LOOK_SECONDS)

    async def show(self, service: str) -> dict[str, Any]:
        """The latest rollout, whatever became of it. Raises `NoRollout`."""
        held, _ = await self._read(service)
        if held is None:
            raise NoRollout(service=service)
        return to_document(held, await self._step(held))

    async def abandon(self, service: str) -> None:
        """End it where it is; what is restarting now goes on to its end. Raises `NoRollout`."""
        held, revision = await self._read(service)
        if held is None or not held.is_open:
            raise NoRollout(service=service)
        await self._write(replace(held, state=RolloutState.ABANDONED), revision)

    def _new(self, service: str, there: Mapping[InstanceId, Instance], wish: Wish) -> Rollout:
        if not there:
            raise NothingToRestart(service=service)
        deaf = [each.id for each in there.values() if each.source not in TELLABLE]
        if deaf:
            raise NotRestartable(service=service, ids=deaf)
        now = self._registry.wall()
        return Rollout(
            token=new_id(now, self._rng),
            service=service,
            ids=tuple(there),
            started=now,
            by=wish.by,
            batch=wish.batch,
            limit=wish.limit,
            force=wish.force,
        )

    async def _go_on(
        self, held: Rollout, there: Mapping[InstanceId, Instance], wish: Wish
    ) -> Rollout:
        """*held*, with those asked again that failed; those that failed and left are left out."""
        step = await self._step(replace(held, state=RolloutState.RUNNING))
        failed = [each.id for each in step.standings if each.stage is Stage.FAILED]
        for instance_id in failed:
            if InstanceId(instance_id) in there:
                await self._instructions.give(
                    held.service,
                    instance_id,
                    Action.RESTART,
                    token=held.token,
                    by=wish.by,
                    anew=True,
                )
        left = [each for each in held.ids if each not in failed or InstanceId(each) in there]
        return replace(
            held,
            ids=tuple(left),
            batch=wish.batch,
            limit=wish.limit,
            force=wish.force,
            state=RolloutState.RUNNING,
            reason="",
        )

    async def _step(self, rollout: Rollout) -> Step:
        there = await self._instances(rollout.service)
        instructions = await self._instructions.of(rollout.service)
        now = self._registry.wall()
        return next_step(rollout, there, instructions, now, began=self._began)

    async def _instances(self, service: str) -> dict[InstanceId, Instance]:
        found = await self._registry.instances(service)
        return {each.id: each for each in found.instances}

    async def _open(self, service: str) -> tuple[Rollout, int]:
        held, revision = await self._read(service)
        if held is None:
            raise NoRollout(service=service)
        return held, revision

    async def _read(self, service: str) -> tuple[Rollout | None, int]:
        found = await self._store.range(rollout_key(service))
        if not found.kvs:
            return None, 0
        return decode(found.kvs[0].value), found.kvs[0].mod_revision

    async def _write(self, rollout: Rollout, revision: int) -> None:
        key = rollout_key(rollout.service)
        unchanged = [Compare.mod(key, "=", revision)]
        if not (await self._store.txn(unchanged, [Put(key, encode(rollout))])).succeeded:
            raise RolloutContended(service=rollout.service)
