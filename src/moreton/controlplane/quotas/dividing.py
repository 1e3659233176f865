"""The duty to divide limits among all gateways: one node does it, and a deposed one cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from moreton.controlplane.quotas.keys import GRANTS, REPORTS, holder_of
from moreton.ratelimit.quota.core.allocator import (
    Allocator,
    Left,
    QuotasChanged,
    Reported,
)
from moreton.ratelimit.quota.core.division import Quota
from moreton.ratelimit.quota.core.messages import (
    Grants,
    Report,
    decode_grants,
    decode_report,
    encode_grants,
)
from moreton.registry.registering import FencedWrite
from moreton.store import Compare, KeyValue, Put, Store, WatchBatch, prefix_end

Quotas = Mapping[str, Quota]


class Divider:
    """Divides the quotas in *store*; *quotas* says which there are, and an event of their change.

    What was granted is read first, so that the shares which gateways may still act by count; it is
    written with every grant, all or nothing, and only if nobody else wrote meanwhile.
    """

    def __init__(self, store: Store, quotas: Callable[[], tuple[Quotas, asyncio.Event]]) -> None:
        self._store = store
        self._quotas = quotas
        self._allocator = Allocator()
        self._at = 0  # the revision at which the grants were written

    async def run(self, write: FencedWrite) -> None:
        """Divide, until cancelled. Raises what *write* raises, and the store's errors."""
        quotas, edited = self._quotas()
        while not quotas:
            await edited.wait()
            quotas, edited = self._quotas()
        revision = await self._begin(quotas, write)
        watch = self._store.watch(REPORTS, prefix_end(REPORTS), from_revision=revision + 1)
        async with watch as batches:
            coming = aiter(batches)
            following = asyncio.ensure_future(anext(coming))
            editing = asyncio.ensure_future(edited.wait())
            try:
                while True:
                    await asyncio.wait([following, editing], return_when=asyncio.FIRST_COMPLETED)
                    if editing.done():
                        quotas, edited = self._quotas()
                        editing = asyncio.ensure_future(edited.wait())
                        await self._say(self._allocator.handle(QuotasChanged(quotas)), write)
                    if following.done():
                        batch = following.result()
                        following = asyncio.ensure_future(anext(coming))
                        await self._take(batch, write)
            finally:
                following.cancel()
                editing.cancel()
                await asyncio.gather(following, editing, return_exceptions=True)

    async def _begin(self, quotas: Quotas, write: FencedWrite) -> int:
        """Go on from what is stored; the revision up to which it is known."""
        before = await self._store.range(GRANTS)
        stored = before.kvs[0] if before.kvs else None
        self._at = 0 if stored is None else stored.mod_revision
        granted = None if stored is None else decode_grants(stored.value)
        self._allocator = Allocator(granted)
        found = await self._store.range(REPORTS, prefix_end(REPORTS))
        there = {holder_of(kv.key): report for kv in found.kvs if (report := _report(kv))}
        said: list[Grants] = []
        for holder in self._allocator.holders - there.keys():
            said += self._allocator.handle(Left(holder))
        said += self._allocator.handle(QuotasChanged(quotas))
        for holder, report in there.items():
            said += self._allocator.handle(Reported(holder, report))
        await self._say(said, write)
        return found.revision

    async def _take(self, batch: WatchBatch, write: FencedWrite) -> None:
        said: list[Grants] = []
        for event in batch.events:
            holder = holder_of(event.kv.key)
            report = _report(event.kv) if event.kind == "put" else None
            if report is None:
                said += self._allocator.handle(Left(holder))
            else:
                said += self._allocator.handle(Reported(holder, report))
        await self._say(said, write)

    async def _say(self, said: Sequence[Grants], write: FencedWrite) -> None:
        """Write the last of what is to be granted: it has what the earlier ones have."""
        if not said:
            return
        unchanged = Compare.mod(GRANTS, "=", self._at)
        done = await write([Put(GRANTS, encode_grants(said[-1]))], compare=[unchanged])
        if not done.succeeded:
            # By a leader that we do not know of yet: what we counted on is not so.
            await self._begin(self._quotas()[0], write)
            return
        self._at = done.revision


def _report(kv: KeyValue) -> Report | None:
    return decode_report(kv.value)
