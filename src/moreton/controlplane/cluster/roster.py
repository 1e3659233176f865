"""The nodes that live, as they tell of themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from moreton.controlplane.core.nodes import (
    PREFIX,
    Node,
    decode_node,
    decode_objects,
    differences,
    is_about,
    is_objects,
    parse_key,
)
from moreton.controlplane.core.objects import ObjectKey
from moreton.controlplane.errors import Rejected
from moreton.controlplane.following import Noting, keep_following
from moreton.store import KeyValue, Store, prefix_end
from moreton.store.errors import Compacted

_DIFFERENT = "moreton.yaml"


class Roster:
    """Follows the nodes in *store*; `run` must be running. *on_change* is told of each change."""

    def __init__(
        self, store: Store, *, troubles: Noting, on_change: Callable[[], None] = lambda: None
    ) -> None:
        self._store = store
        self._troubles = troubles
        self._on_change = on_change
        self._nodes: dict[str, Node] = {}
        self._objects: dict[str, Mapping[str, str]] = {}
        self._changed = asyncio.Event()

    def nodes(self) -> Sequence[Node]:
        """The living nodes by name."""
        return [self._nodes[name] for name in sorted(self._nodes)]

    def leaving(self) -> Mapping[str, Mapping[str, Any]]:
        """By node what it tells of the instances that leave."""
        return {name: node.leaving for name, node in self._nodes.items()}

    def next_change(self) -> asyncio.Event:
        """Set when a node next tells something, comes or goes."""
        return self._changed

    async def run(self) -> None:
        """Follow them; until cancelled. While the store is in trouble they stay as they were."""
        await keep_following(self._follow, what="following nodes", troubles=self._troubles)

    async def wait_applied(self, key: ObjectKey, revision: int) -> None:
        """Return once every living node has *key* in force as of *revision*.

        Raises `Rejected` when a proxy of another node refused it.
        """
        while self.behind(revision):
            await self._changed.wait()
        for node in self.nodes():
            reason = node.rejected.get(str(key))
            if reason is not None:
                raise Rejected(what=str(key), reason=f"on node {node.name}: {reason}")

    def behind(self, revision: int) -> list[str]:
        """The living nodes whose proxies do not have everything up to *revision* yet."""
        return [node.name for node in self.nodes() if node.applied < revision]

    async def _follow(self, is_fine: Callable[[], None]) -> None:
        found = await self._store.range(PREFIX, prefix_end(PREFIX))
        self._nodes.clear()
        self._objects.clear()
        for kv in found.kvs:
            self._put(kv)
        self._tell()
        start = found.revision + 1
        try:
            watch = self._store.watch(PREFIX, prefix_end(PREFIX), from_revision=start)
            async with watch as batches:
                is_fine()
                async for batch in batches:
                    for event in batch.events:
                        if event.kind == "put":
                            self._put(event.kv)
                        else:
                            self._remove(event.kv.key)
                    self._tell()
        except Compacted:
            return

    def _put(self, kv: KeyValue) -> None:
        name, what = parse_key(kv.key)
        node = decode_node(kv.value) if is_about(what) else None
        if node is not None:
            self._nodes[name] = node
        elif is_objects(what):
            self._objects[name] = decode_objects(kv.value)

    def _remove(self, key: bytes) -> None:
        name, what = parse_key(key)
        (self._nodes if is_about(what) else self._objects).pop(name, None)

    def _tell(self) -> None:
        different = differences(self._objects)
        if different:
            self._troubles.begin(
                _DIFFERENT,
                f"the nodes do not define the same, {different}: each serves what its own file "
                "says; bring the same moreton.yaml to every node",
            )
        else:
            self._troubles.end(_DIFFERENT)
        self._changed.set()
        self._changed = asyncio.Event()
        self._on_change()
