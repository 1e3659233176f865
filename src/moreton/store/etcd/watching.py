"""A watch that outlives its connections."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from moreton.kernel.errors import MoretonError
from moreton.kernel.rng import system_rng
from moreton.store.core.errors import Compacted
from moreton.store.core.model import WatchBatch, WatchEvent
from moreton.store.errors import StoreClosed
from moreton.store.etcd.core.assembly import Assembly
from moreton.store.etcd.core.messages import Document, Messages, is_empty, number
from moreton.store.etcd.core.refusals import Kind, Refusal, kind_of
from moreton.store.etcd.endpoints import Lost, Refused, Unsent
from moreton.store.etcd.errors import (
    EtcdForbidden,
    EtcdLoginRefused,
    EtcdRefused,
    EtcdUnreachable,
)
from moreton.store.etcd.gateway import BACKOFF, Gateway

_WATCH, _RANGE = "/v3/watch", "/v3/kv/range"
# A reader that leaves more than this unread is hung up on, and connected again when it has read
# half: etcd up to 3.4.30 can lose events of a watch that does not take them (etcd#17617).
BUFFER_BYTES_MAX = 4 * 1024 * 1024
_EVENT_BYTES = 400
# After so long without a word the member is asked whether it lives.
IDLE_SECONDS = 15.0
_LOGINS_MAX = 3


class EtcdWatch(AsyncIterator[WatchBatch]):
    """Every change from a revision on, once and in order; `follow` is to run beside it."""

    def __init__(
        self, gateway: Gateway, messages: Messages, key: bytes, end: bytes | None, start: int
    ) -> None:
        self._gateway = gateway
        self._messages = messages
        self._key = key
        self._end = end
        self._assembly = Assembly(messages, start)
        self._rng = system_rng()
        self._batches: deque[WatchBatch] = deque()
        self._unread_bytes = 0
        self._error: MoretonError | None = None
        self._reason = "the watch was not answered"
        self._failures = self._logins = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._begun = asyncio.Event()

    async def __anext__(self) -> WatchBatch:
        while True:
            if isinstance(self._error, StoreClosed):
                raise self._error
            if self._batches:
                batch = self._batches.popleft()
                self._unread_bytes -= _bytes_of(batch)
                if self._unread_bytes <= BUFFER_BYTES_MAX // 2:
                    self._room.set()
                return batch
            if self._error is not None:
                raise self._error
            self._news.clear()
            await self._news.wait()

    async def wait_begun(self, seconds: float) -> None:
        """Return when etcd has taken the watch. Raises `EtcdUnreachable`, or why it did not."""
        try:
            async with asyncio.timeout(seconds):
                await self._begun.wait()
        except TimeoutError as error:
            endpoints = self._gateway.address.endpoints
            raise EtcdUnreachable(endpoints=endpoints, reason=self._reason) from error
        if self._error is not None:
            raise self._error

    def end(self, error: MoretonError) -> None:
        """Nothing more will come, because of *error*."""
        self._error = self._error or error
        self._news.set()
        self._begun.set()

    async def follow(self) -> None:
        """Read, and connect again for as long as it takes; until cancelled, or for ever refused."""
        if is_empty(self._key, self._end):
            self._begun.set()
            return
        try:
            while True:
                await self._read_again()
                await self._wait_room()
        except MoretonError as error:
            self.end(error)

    async def _read_again(self) -> None:
        """One connection, from a member that answers. Raises what no other would change."""
        endpoint = self._gateway.endpoint
        try:
            if self._failures:
                # Which member lives, and whether the etcd is still what it was.
                await self._gateway.call(_RANGE, self._messages.beacon(), repeatable=True)
                endpoint = self._gateway.endpoint
            await self._read()
        except (Unsent, Lost, EtcdUnreachable) as error:
            self._reason = str(error)
        except Refused as error:
            self._on_refused(error.refusal)
        except MoretonError:
            raise
        except Exception as error:  # noqa: BLE001 - else its reader would wait for ever
            self._reason = f"what it said is not understood, {type(error).__name__}: {error}"
        else:
            return
        finally:
            self._assembly.restart()
        self._gateway.leave(endpoint, self._reason)
        self._failures += 1
        await asyncio.sleep(BACKOFF.seconds(self._failures, self._rng))

    async def _read(self) -> None:
        """Take what comes, until the reader has too much unread."""
        request = self._messages.watch(self._key, self._end, self._assembly.next_revision)
        async with self._gateway.stream(_WATCH, request) as (endpoint, documents):
            while self._unread_bytes <= BUFFER_BYTES_MAX:
                result = await self._next(endpoint, documents)
                self._gateway.check_cluster(endpoint, result)
                self._take(result)

    async def _next(
        self, endpoint: str, documents: AsyncGenerator[dict[str, Any], None]
    ) -> dict[str, Any]:
        pending = asyncio.ensure_future(_pull(documents))
        try:
            while not (await asyncio.wait({pending}, timeout=IDLE_SECONDS))[0]:
                await self._gateway.probe(endpoint)
                self._failures = 0
            return pending.result()
        finally:
            if not pending.done():
                pending.cancel()
                await asyncio.wait({pending})

    def _take(self, result: Document) -> None:
        if result.get("canceled"):
            self._on_cancelled(result)
        if result.get("created"):
            self._begun.set()
            self._logins = 0
        batches = self._assembly.take(result)
        for batch in batches:
            self._unread_bytes += _bytes_of(batch)
        self._batches.extend(batches)
        if batches:
            self._failures = 0
            self._news.set()

    def _on_cancelled(self, result: Document) -> None:
        compacted = number(result, "compact_revision")
        if compacted:
            raise Compacted(revision=self._assembly.next_revision, compact_revision=compacted)
        reason = str(result.get("cancel_reason", ""))
        # Without a reason, a member that shuts down.
        raise Refused(Refusal(kind_of(reason) if reason else Kind.UNSURE, reason))

    def _on_refused(self, refusal: Refusal) -> None:
        self._reason = refusal.reason
        user = self._gateway.address.user
        match refusal.kind:
            case Kind.LOGIN_NEEDED if user is not None and self._logins < _LOGINS_MAX:
                self._logins += 1
                self._gateway.forget_login()
            case Kind.LOGIN_NEEDED:
                raise EtcdLoginRefused(user=user, reason=repr(refusal.reason))
            case Kind.FORBIDDEN:
                raise EtcdForbidden(user=user, prefix=self._messages.prefix + self._key)
            case Kind.NOT_HERE | Kind.UNSURE:
                pass
            case _:
                raise EtcdRefused(reason=refusal.reason)

    async def _wait_room(self) -> None:
        while self._unread_bytes > BUFFER_BYTES_MAX:
            self._room.clear()
            await self._room.wait()


async def _pull(documents: AsyncGenerator[dict[str, Any], None]) -> dict[str, Any]:
    async for result in documents:
        return result
    raise Lost("the stream ended")


def _bytes_of(batch: WatchBatch) -> int:
    return sum(map(_event_bytes, batch.events))


def _event_bytes(event: WatchEvent) -> int:
    before = len(event.prev.value) if event.prev is not None else 0
    return _EVENT_BYTES + len(event.kv.key) + len(event.kv.value) + before
