"""The telling itself: of one node for all, each webhook for itself, beside the migrations."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

from moreton.controlplane.migrations.hooks.posting import Post, place_of, post
from moreton.controlplane.migrations.hooks.standing import (
    Standing,
    encode_standing,
    pending,
    read_standing,
    standing_key,
)
from moreton.controlplane.migrations.records import HISTORY, decode_record, state_key
from moreton.kernel.rng import Rng, system_rng
from moreton.kernel.time import Clock
from moreton.registry.registering import FencedWrite
from moreton.store import Put, Store, prefix_end
from moreton.store.errors import Compacted
from moreton.strangler.rollout.core.plan import Plan
from moreton.strangler.rollout.core.webhooks import Webhook, event_document

_LOG = logging.getLogger("moreton.controlplane")
# A webhook by the names of its migration and itself.
Key: TypeAlias = tuple[str, str]
Working: TypeAlias = dict[Key, tuple[Webhook, asyncio.Task[None]]]


class Deliverer:
    """Tells *webhooks*, by migration, what is in the histories of *store* and was not told yet.

    *edited* is set when they may be others.
    """

    def __init__(
        self,
        store: Store,
        webhooks: Callable[[], Mapping[str, Sequence[Webhook]]],
        edited: Callable[[], asyncio.Event],
        *,
        clock: Clock,
        tell: Post = post,
        rng: Rng | None = None,
    ) -> None:
        self._store = store
        self._webhooks = webhooks
        self._edited = edited
        self._clock = clock
        self._tell = tell
        self._rng = rng or system_rng()
        self._changed = asyncio.Event()

    async def run(self, write: FencedWrite) -> None:
        """Tell, until cancelled. Raises what *write* raises, and the store's errors."""
        working: Working = {}
        listening = asyncio.create_task(self._listen(), name="webhooks")
        try:
            while True:
                edited = asyncio.create_task(self._edited().wait())
                await self._renew(working, write)
                tasks = [listening, *(task for _, task in working.values())]
                await asyncio.wait([edited, *tasks], return_when=asyncio.FIRST_COMPLETED)
                edited.cancel()
                for task in tasks:
                    if task.done():
                        task.result()  # it only ends by failing
        finally:
            await _end([listening, *(task for _, task in working.values())])

    async def _renew(self, working: Working, write: FencedWrite) -> None:
        """Have a task for each webhook that there is, by what it is now."""
        wanted = {
            (migration, each.name): each
            for migration, webhooks in self._webhooks().items()
            for each in webhooks
        }
        old = [key for key in working if wanted.get(key) != working[key][0]]
        await _end([working.pop(key)[1] for key in old])
        for key in wanted.keys() - working.keys():
            line = _Line(key[0], wanted[key], self._clock, self._tell, self._rng)
            work = self._serve(line, write)
            working[key] = (wanted[key], asyncio.create_task(work, name=f"webhook {key[1]}"))

    async def _listen(self) -> None:
        """Say whenever a history grows."""
        while True:
            found = await self._store.range(HISTORY, prefix_end(HISTORY), limit=1)
            self._wake()
            watch = self._store.watch(
                HISTORY, prefix_end(HISTORY), from_revision=found.revision + 1
            )
            with suppress(Compacted):
                async with watch as batches:
                    async for _ in batches:
                        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _serve(self, line: _Line, write: FencedWrite) -> None:
        migration, webhook = line.migration, line.webhook
        key = standing_key(migration, webhook.name)
        standing = await read_standing(self._store, migration, webhook.name)
        while True:
            changed = self._changed
            for entry in await pending(self._store, migration, webhook, standing.told):
                plan = await self._plan(migration)
                while plan is not None and standing.told < entry["number"]:
                    standing, wait = await line.tried(plan, entry, standing)
                    await write([Put(key, encode_standing(standing))])
                    await asyncio.sleep(wait.total_seconds())
            await changed.wait()

    async def _plan(self, migration: str) -> Plan | None:
        found = await self._store.range(state_key(migration))
        record = decode_record(found.kvs[0].value) if found.kvs else None
        return None if record is None else record.plan


@dataclass(frozen=True, slots=True)
class _Line:
    """One *webhook* of one *migration*."""

    migration: str
    webhook: Webhook
    clock: Clock
    tell: Post
    rng: Rng

    async def tried(
        self, plan: Plan, entry: Mapping[str, Any], standing: Standing
    ) -> tuple[Standing, timedelta]:
        """Tell *entry* once: where it stands after that, and how long to wait then."""
        said = await self.tell(self.webhook, event_document(plan, entry), self.clock.wall())
        number, now = entry["number"], self.clock.wall()
        who = f"webhook {self.webhook.name} of migration {self.migration}"
        if not said.error:
            if standing.tries:
                _LOG.info("%s (%s) takes events again", who, place_of(self.webhook))
            return standing.delivered_at(number, now), timedelta(0)
        if not standing.tries:
            _LOG.warning("%s (%s) fails: %s", who, place_of(self.webhook), said.error)
        since = standing.since
        if said.gone or (since is not None and now - since >= self.webhook.give_up):
            _LOG.error("%s will not be told of entry %d: %s", who, number, said.error)
            return standing.gave_up(number, said.error), timedelta(0)
        wait = max(self.webhook.backoff.next_delay(standing.tries + 1, self.rng), said.wait)
        return standing.failed_at(now, said.error, now + wait), wait


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
