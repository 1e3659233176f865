"""Follows the API's objects in the store, whoever wrote them, into what is desired."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

from moreton.controlplane.core.desired import Desired
from moreton.controlplane.core.objects import ObjectKey, Value
from moreton.controlplane.errors import ChangeNotSeen
from moreton.controlplane.following import Noting, Quiet, in_background, keep_following
from moreton.controlplane.objects.keys import PREFIX, MoveOf, WeightsOf, decode, parse_key
from moreton.gateway.core.moves import move_from
from moreton.kernel.errors import MoretonError
from moreton.store import Store, prefix_end
from moreton.store.errors import Compacted

_LOG = logging.getLogger("moreton.controlplane")
# The store tells of a change within milliseconds, unless the connection to it broke just now.
_SEEN_SECONDS_MAX = 10.0

# A document as put, turned into its value. Raises `MoretonError`.
Parse: TypeAlias = Callable[[ObjectKey, Mapping[str, Any]], Value]


class Follower:
    """Keeps *desired* at what the store has; *touch* is told which objects changed."""

    def __init__(
        self,
        store: Store,
        desired: Desired,
        *,
        parse: Parse,
        touch: Callable[[Iterable[ObjectKey]], None],
        troubles: Noting | None = None,
    ) -> None:
        self.documents: dict[ObjectKey, dict[str, Any]] = {}
        self.unreadable: dict[ObjectKey, str] = {}
        self._store = store
        self._desired = desired
        self._parse = parse
        self._touch = touch
        self._troubles = troubles or Quiet()
        self._revision = 0
        self._aside: set[WeightsOf | MoveOf] = set()  # what routes have besides their documents
        self._moved = asyncio.Event()

    @property
    def revision(self) -> int:
        """The store's revision up to which everything is desired."""
        return self._revision

    def next_move(self) -> asyncio.Event:
        """Set when `revision` next grows."""
        return self._moved

    async def load(self) -> None:
        """Take everything there is."""
        found = await self._store.range(PREFIX, prefix_end(PREFIX))
        there = {kv.key: kv.value for kv in found.kvs}
        for key in [k for k in self.documents if k not in map(parse_key, there)]:
            self._take(key, None)
        for aside in [one for one in self._aside if one not in map(parse_key, there)]:
            self._take(aside, None)
        for name, value in there.items():
            self._take(parse_key(name), value)
        self._move(found.revision)

    async def run(self) -> None:
        """Take every change after `load`; until cancelled.

        While the store is in trouble what was known last stays desired.
        """

        async def follow(is_fine: Callable[[], None]) -> None:
            try:
                await self._follow(is_fine)
            except Compacted:
                await self.load()
                is_fine()

        await keep_following(follow, what="following objects", troubles=self._troubles)

    def running(self) -> AbstractAsyncContextManager[None]:
        """`run` in the background."""
        return in_background(self.run(), name="follow objects")

    async def wait_revision(self, revision: int) -> None:
        """Return once what was written at *revision* is desired. Raises `ChangeNotSeen`."""
        try:
            async with asyncio.timeout(_SEEN_SECONDS_MAX):
                while self._revision < revision:
                    await self._moved.wait()
        except TimeoutError as error:
            raise ChangeNotSeen(revision=revision, seen=self._revision) from error

    async def _follow(self, is_fine: Callable[[], None]) -> None:
        start = self._revision + 1
        watch = self._store.watch(PREFIX, prefix_end(PREFIX), from_revision=start)
        async with watch as batches:
            is_fine()
            async for batch in batches:
                for event in batch.events:
                    value = event.kv.value if event.kind == "put" else None
                    self._take(parse_key(event.kv.key), value)
                self._move(batch.revision)

    def _move(self, revision: int) -> None:
        self._revision = revision
        self._moved.set()
        self._moved = asyncio.Event()

    def _take(self, key: ObjectKey | WeightsOf | MoveOf | None, value: bytes | None) -> None:
        if key is None:
            return
        try:
            document = None if value is None else decode(value)
            if isinstance(key, ObjectKey):
                self._touch(self._take_object(key, document))
            else:
                self._touch(self._take_aside(key, document))
        except (MoretonError, ValueError, KeyError, TypeError) as error:
            # A later version may have written it; it must not keep the others from being served.
            _LOG.warning("%s in the store cannot be read: %s", key, error)
            if isinstance(key, ObjectKey):
                self.unreadable[key] = str(error)
                self._touch(self._desired.delete_object(key))

    def _take_aside(
        self, key: WeightsOf | MoveOf, document: dict[str, Any] | None
    ) -> set[ObjectKey]:
        if document is None:
            self._aside.discard(key)
        else:
            self._aside.add(key)
        if isinstance(key, MoveOf):
            return self._desired.put_move(
                key.route, None if document is None else move_from(document)
            )
        if document is None:
            return self._desired.delete_weights(key.route)
        weights = {str(name): int(weight) for name, weight in document.items()}
        return self._desired.put_weights(key.route, weights)

    def _take_object(self, key: ObjectKey, document: dict[str, Any] | None) -> set[ObjectKey]:
        self.unreadable.pop(key, None)
        if document is None:
            self.documents.pop(key, None)
            return self._desired.delete_object(key)
        self.documents[key] = document
        return self._desired.put_object(key, self._parse(key, document))
