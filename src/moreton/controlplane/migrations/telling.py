"""What each node's Envoy counted of a migration, told to the one that drives it.

Nodes that share a store each have a proxy; requests come in at all of them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping

from moreton.controlplane.migrations.looking import Counting, Sides
from moreton.controlplane.migrations.records import PREFIX, STATES, decode_record
from moreton.envoy.admin import EnvoyDoesNotAnswer
from moreton.store import Delete, Put, Store, prefix_end
from moreton.strangler.rollout.core.documents import side_document, side_from

_SEEN = PREFIX + b"seen/"
# As often as the one that drives looks.
_TELL_SECONDS = 0.5


class Teller:
    """Tells through *store* what *counting* has of every migration under way, as *node*.

    What others told stays when they die: what does not grow counts for nothing.
    """

    def __init__(self, store: Store, counting: Counting, *, node: str) -> None:
        self._store = store
        self._counting = counting
        self._node = node
        self._said: dict[str, bytes] = {}

    async def run(self, is_fine: Callable[[], None]) -> None:
        """Tell, until cancelled. Raises the store's errors."""
        while True:
            found = await self._store.range(STATES, prefix_end(STATES))
            is_fine()
            records = [decode_record(kv.value) for kv in found.kvs]
            plans = {r.plan.name: r.plan for r in records if r is not None and r.is_under_way}
            for name in self._said.keys() - plans.keys():
                await self._store.txn((), [Delete(_seen_key(name, self._node))])
                del self._said[name]
            for name, plan in plans.items():
                try:
                    value = _encode(await self._counting.sides(plan))
                except EnvoyDoesNotAnswer:
                    continue
                if value != self._said.get(name):
                    await self._store.txn((), [Put(_seen_key(name, self._node), value)])
                    self._said[name] = value
            if plans:
                await asyncio.sleep(_TELL_SECONDS)
            else:
                await self._wait_change(found.revision)

    async def others(self, name: str) -> Mapping[str, Sides]:
        """What the other nodes told of the migration *name*, by node."""
        prefix = _seen_key(name, "")
        found = await self._store.range(prefix, prefix_end(prefix))
        told = {kv.key.removeprefix(prefix).decode(): _decode(kv.value) for kv in found.kvs}
        return {node: each for node, each in told.items() if each and node != self._node}

    async def _wait_change(self, revision: int) -> None:
        watch = self._store.watch(STATES, prefix_end(STATES), from_revision=revision + 1)
        async with watch as batches:
            async for _ in batches:
                return


def _seen_key(name: str, node: str) -> bytes:
    return _SEEN + f"{name}/{node}".encode()


def _encode(sides: Sides) -> bytes:
    return json.dumps([side_document(each) for each in sides], separators=(",", ":")).encode()


def _decode(value: bytes) -> Sides | None:
    try:
        baseline, candidate = (side_from(each) for each in json.loads(value))
    except (ValueError, KeyError, TypeError):
        return None
    return baseline, candidate
