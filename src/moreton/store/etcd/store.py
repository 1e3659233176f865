"""A store that is an etcd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

from moreton.store.core.model import (
    Compare,
    Delete,
    LeaseId,
    Op,
    Put,
    Range,
    RangeResult,
    Transaction,
    TxnResult,
    WatchBatch,
)
from moreton.store.errors import StoreClosed
from moreton.store.etcd.core.address import EtcdAddress
from moreton.store.etcd.core.messages import Messages
from moreton.store.etcd.gateway import Gateway
from moreton.store.etcd.requests import Requests
from moreton.store.etcd.watching import EtcdWatch
from moreton.store.protocol import Store, StoreStatistics

_Answer = TypeVar("_Answer")


class EtcdStore(Store):
    """A store in an etcd, under a prefix. Used from the event loop that it was made in only."""

    def __init__(self, address: EtcdAddress) -> None:
        self._gateway = Gateway(address)
        self._messages = Messages(address.prefix)
        self._requests = Requests(self._gateway, self._messages)
        self._watches: dict[EtcdWatch, asyncio.Task[None]] = {}
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._ended = asyncio.Event()
        self._under_way = 0
        self._writes = 0

    async def range(
        self,
        key: bytes,
        end: bytes | None = None,
        *,
        revision: int | None = None,
        limit: int | None = None,
    ) -> RangeResult:
        """As `Store.range`; large ranges are read page by page, as of one revision."""
        return await self._do(self._requests.range(Range(key, end, revision, limit)))

    async def txn(
        self,
        compare: Sequence[Compare] = (),
        then: Sequence[Op] = (),
        otherwise: Sequence[Op] = (),
    ) -> TxnResult:
        """As `Store.txn`. Raises `EtcdAnswerLost` when it may have happened or not."""
        request = Transaction(tuple(compare), tuple(then), tuple(otherwise))
        return await self._do(self._requests.txn(request), writes=True)

    async def put(self, key: bytes, value: bytes, *, lease: LeaseId | None = None) -> int:
        """As `Store.put`. Raises `EtcdAnswerLost`."""
        op = Put(key, value, lease)
        Transaction(then=(op,))  # which checks its size
        return await self._do(self._requests.put(op), writes=True)

    async def delete(self, key: bytes, end: bytes | None = None) -> int:
        """As `Store.delete`. Raises `EtcdAnswerLost`."""
        return await self._do(self._requests.delete(Delete(key, end)), writes=True)

    async def grant(self, ttl: timedelta, *, lease: LeaseId | None = None) -> LeaseId:
        """As `Store.grant`. etcd counts in seconds and has a least time to live: both round up."""
        return await self._do(self._requests.grant(ttl, lease), writes=True)

    async def keep_alive(self, lease: LeaseId) -> timedelta:
        """As `Store.keep_alive`."""
        return await self._do(self._requests.keep_alive(lease))

    async def revoke(self, lease: LeaseId) -> None:
        """As `Store.revoke`."""
        await self._do(self._requests.revoke(lease), writes=True)

    @asynccontextmanager
    async def watch(
        self, key: bytes, end: bytes | None = None, *, from_revision: int | None = None
    ) -> AsyncIterator[AsyncIterator[WatchBatch]]:
        """As `Store.watch`. It goes on, without loss or repeat, when connections break."""
        if from_revision is not None and from_revision < 1:
            message = f"revision {from_revision} is below 1, the revision of an empty store"
            raise ValueError(message)
        if from_revision is None:
            # Not "from now" as the member sees it, which may lag behind what was answered here.
            from_revision = await self._do(self._requests.revision()) + 1
        self._check_open()
        watch = EtcdWatch(self._gateway, self._messages, key, end, from_revision)
        task = asyncio.create_task(watch.follow(), name=f"watch {key!r}")
        self._watches[watch] = task
        try:
            await watch.wait_begun(self._gateway.address.timeout.total_seconds())
            yield watch
        finally:
            self._watches.pop(watch, None)
            task.cancel()
            await asyncio.wait({task})

    async def compact(self, revision: int) -> None:
        """As `Store.compact`: for all of the etcd, not for the prefix alone."""
        await self._do(self._requests.compact(revision), writes=True)

    def statistics(self) -> StoreStatistics:
        """As `Store.statistics`, as far as it was seen here: what only etcd knows is 0."""
        return StoreStatistics(
            revision=self._gateway.revision,
            compact_revision=self._requests.compact_revision,
            keys=0,
            leases=0,
            watches=len(self._watches),
            history_events=0,
            history_bytes=0,
            writes_pending=self._writes,
            commits=0,
            file_bytes=0,
        )

    async def close(self) -> None:
        """As `Store.close`. What waits for an etcd that is gone does so until its time is up."""
        if self._closed:
            await self._ended.wait()
            return
        self._closed = True
        try:
            for watch, task in self._watches.items():
                watch.end(StoreClosed())
                task.cancel()
            await self._idle.wait()
        finally:
            await self._gateway.close()
            self._ended.set()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed

    async def _do(self, request: Coroutine[Any, Any, _Answer], *, writes: bool = False) -> _Answer:
        if self._closed:
            request.close()
            raise StoreClosed
        self._under_way += 1
        self._writes += writes
        self._idle.clear()
        try:
            return await request
        finally:
            self._under_way -= 1
            self._writes -= writes
            if not self._under_way:
                self._idle.set()
