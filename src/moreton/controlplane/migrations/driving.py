"""The work of looking at migrations under way and doing what follows: of one node for all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from moreton.controlplane.migrations.copies import Copies
from moreton.controlplane.migrations.looking import Looker
from moreton.controlplane.migrations.records import (
    STATES,
    Record,
    decode_record,
    share_in,
    state_key,
    weights_of,
    written,
)
from moreton.controlplane.migrations.reports.recording import Recorder
from moreton.controlplane.objects.keys import decode, move_key, weights_key
from moreton.gateway.core.moves import move_document
from moreton.kernel.time import Clock
from moreton.registry.registering import FencedWrite
from moreton.store import Compare, Store, prefix_end
from moreton.strangler.rollout.core.machine import Migration
from moreton.strangler.rollout.core.plan import Plan
from moreton.strangler.rollout.core.progress import (
    Commit,
    Effect,
    Looked,
    Progress,
    Refuse,
    SharesChanged,
)
from moreton.strangler.rollout.core.sides import Look

_LOG = logging.getLogger("moreton.controlplane")
# A rollback has to be through within seconds of the first failure.
LOOK_SECONDS = 0.5


@dataclass(slots=True)
class Driven:
    """A migration that is looked at here; *revision* wrote the *record* it goes on from.

    *progress* is the newest of which everything is in the store that has to be.
    """

    machine: Migration
    record: Record
    revision: int
    progress: Progress


class Driver:
    """Looks at every migration of *store* that is under way by *looker*, and writes what follows.

    *unfit* says why a plan cannot be followed now, if it cannot; *told* which webhooks are told
    of a migration.
    """

    def __init__(
        self,
        store: Store,
        looker: Looker,
        copies: Copies,
        *,
        clock: Clock,
        unfit: Callable[[Plan], str],
        told: Callable[[str], Sequence[str]] = lambda _: (),
    ) -> None:
        self.driven: dict[str, Driven] = {}
        self._store = store
        self._looker = looker
        self._copies = copies
        self._clock = clock
        self._unfit = unfit
        self._told = told
        self._recorder = Recorder(store, clock)

    async def run(self, write: FencedWrite) -> None:
        """Drive, until cancelled. Raises what *write* raises, and the store's errors."""
        try:
            while True:
                revision = await self._take_all()
                await self._forget(write)
                if not self.driven:
                    await self._wait_change(revision)
                    continue
                for each in list(self.driven.values()):
                    await self._drive(each, write)
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self.driven.clear()
            self._looker.close()

    async def _take_all(self) -> int:
        """What is under way, as others may have changed it; the store's revision."""
        found = await self._store.range(STATES, prefix_end(STATES))
        known, self.driven = self.driven, {}
        for kv in found.kvs:
            record = decode_record(kv.value)
            if record is None or not record.is_under_way:
                continue
            held = known.get(record.plan.name)
            if held is None or held.revision != kv.mod_revision:
                machine = Migration(record.plan, record.progress)
                held = Driven(machine, record, kv.mod_revision, record.progress)
            self.driven[record.plan.name] = held
        return found.revision

    async def _forget(self, write: FencedWrite) -> None:
        for name in self._recorder.names() - self.driven.keys():
            self._looker.forget(name)
            if seen := self._recorder.forget(name):
                await write(seen)

    async def _wait_change(self, revision: int) -> None:
        watch = self._store.watch(STATES, prefix_end(STATES), from_revision=revision + 1)
        async with watch as batches:
            async for _ in batches:
                return

    async def _drive(self, each: Driven, write: FencedWrite) -> None:
        plan, machine = each.record.plan, each.machine
        unfit = self._unfit(plan)
        if not unfit and (share := await self._share_set(each)) is not None:
            effects = machine.handle(SharesChanged(share), self._clock.now())
            if not await self._perform(each, effects, write):
                return
        look = Look(trouble=unfit) if unfit else await self._looker.look(plan)
        if seen := await self._recorder.see(each.record, look):
            await write(seen)
        await self._perform(each, machine.handle(Looked(look), self._clock.now()), write)

    async def _share_set(self, each: Driven) -> float | None:
        """The candidate's share in the store, if that or who goes where is not as it should be."""
        plan, move = each.record.plan, each.machine.move
        weights = await self._stored(weights_key(plan.route))
        moves = await self._stored(move_key(plan.route))
        wanted = weights_of(plan, each.machine.share)
        wanted_moves = {} if move is None else move_document(move)
        is_right = weights == wanted and moves == wanted_moves
        return None if is_right else share_in(plan, weights)

    async def _stored(self, key: bytes) -> dict[str, Any]:
        found = await self._store.range(key)
        return decode(found.kvs[0].value) if found.kvs else {}

    async def _perform(self, each: Driven, effects: Sequence[Effect], write: FencedWrite) -> bool:
        """Do *effects*; false when somebody else changed the migration meanwhile."""
        name = each.record.plan.name
        for effect in effects:
            assert not isinstance(effect, Refuse), "nobody ordered anything here"
            after, operations = written(
                each.record, effect, self._clock.wall(), self._copies, self._told(name)
            )
            unchanged = Compare.mod(state_key(name), "=", each.revision)
            done = await write(operations, compare=[unchanged])
            if not done.succeeded:
                self.driven.pop(name, None)
                return False
            each.record, each.revision = after, done.revision
            if isinstance(effect, Commit):
                entry = effect.entry
                why = f": {entry.because}" if entry.because else ""
                _LOG.warning(
                    "migration %s %s, stage %s, share %.4g%%%s",
                    name,
                    entry.what,
                    entry.stage,
                    entry.share * 100,
                    why,
                )
        each.progress = each.machine.progress
        return True
