"""The store that a check looks at, and what checks share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from moreton.kernel.errors import MoretonError
from moreton.store import RangeResult, Store, WatchBatch, prefix_end

# Nothing that must happen takes longer, on the busiest machine.
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class StoreUnderTest:
    """A store that nobody else writes to. *ttl*: the shortest that its leases really have."""

    store: Store
    ttl: timedelta
    prefix: bytes = b"conformance/"

    def key(self, name: str) -> bytes:
        """A key of this check's own."""
        return self.prefix + name.encode()

    @property
    def end(self) -> bytes:
        """The end of the range that begins with `prefix`."""
        return prefix_end(self.prefix)

    async def everything(self, *, revision: int | None = None) -> RangeResult:
        """All keys of this check."""
        return await self.store.range(self.prefix, self.end, revision=revision)

    async def contents(self, *, revision: int | None = None) -> dict[bytes, bytes]:
        """All keys of this check, with their values."""
        return {kv.key: kv.value for kv in (await self.everything(revision=revision)).kvs}

    async def revision(self) -> int:
        """The store's revision now."""
        return (await self.store.range(self.prefix)).revision


@dataclass(frozen=True, slots=True)
class RestartedStoreUnderTest:
    """A store that can be closed and opened again by *open*, with all it held."""

    open: Callable[[], Awaitable[Store]]
    ttl: timedelta


StoreCheck: TypeAlias = Callable[[StoreUnderTest], Awaitable[None]]
RestartCheck: TypeAlias = Callable[[RestartedStoreUnderTest], Awaitable[None]]


async def next_batch(watch: AsyncIterator[WatchBatch]) -> WatchBatch:
    """The watch's next batch; fails when none comes."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await anext(watch)


async def refused(request: Awaitable[object], error: type[MoretonError]) -> MoretonError:
    """The *error* that *request* must raise."""
    try:
        answer = await request
    except error as found:
        return found
    message = f"expected {error.__name__}, got {answer!r}"
    raise AssertionError(message)


def changes(batch: WatchBatch) -> list[tuple[str, bytes, bytes]]:
    """The kind, key and value of each event."""
    return [(event.kind, event.kv.key, event.kv.value) for event in batch.events]
