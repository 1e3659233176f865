"""The store's operations as calls of etcd's, and its refusals as the store's errors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, NoReturn

from moreton.kernel.rng import system_rng
from moreton.store.core.errors import Compacted, FutureRevision, LeaseExists, LeaseNotFound
from moreton.store.core.model import (
    Delete,
    KeyValue,
    Lease,
    LeaseId,
    Put,
    Range,
    RangeResult,
    Transaction,
    TxnResult,
)
from moreton.store.etcd.core.messages import Document, Messages, number, revision_of
from moreton.store.etcd.core.refusals import Kind
from moreton.store.etcd.endpoints import Lost, Refused, Unsent
from moreton.store.etcd.errors import (
    EtcdForbidden,
    EtcdLimitExceeded,
    EtcdLoginRefused,
    EtcdNoSpace,
    EtcdRefused,
)
from moreton.store.etcd.gateway import ATTEMPT_SECONDS, Gateway

# Keys of a range that are asked for at a time.
PAGE_KEYS = 5000
# How often a range is begun again because its revision was compacted between two pages.
_READS_MAX = 3


class Requests:
    """What a store asks of its etcd."""

    def __init__(self, gateway: Gateway, messages: Messages) -> None:
        self.compact_revision = 0
        self._gateway = gateway
        self._messages = messages
        self._rng = system_rng()

    async def revision(self) -> int:
        """The newest revision that any write made which was answered by now."""
        return revision_of(await self._call("kv/range", self._messages.beacon(), repeatable=True))

    async def range(self, op: Range) -> RangeResult:
        """As `Store.range`, page by page, all of them as of one revision."""
        for _ in range(_READS_MAX):
            try:
                return await self._pages(op)
            except Compacted:
                if op.revision is not None:
                    raise
        return await self._pages(op)

    async def txn(self, request: Transaction) -> TxnResult:
        """As `Store.txn`."""
        ops = (*request.then, *request.otherwise)
        answer = await self._call(
            "kv/txn",
            self._messages.transaction(request),
            past=[op.revision for op in ops if isinstance(op, Range) and op.revision is not None],
            leases=[op.lease for op in ops if isinstance(op, Put) and op.lease is not None],
        )
        return self._messages.txn_result(answer, request)

    async def put(self, op: Put) -> int:
        """As `Store.put`."""
        leases = () if op.lease is None else (op.lease,)
        return revision_of(await self._call("kv/put", self._messages.put(op), leases=leases))

    async def delete(self, op: Delete) -> int:
        """As `Store.delete`."""
        answer = await self._call("kv/deleterange", self._messages.span(op.key, op.end))
        return number(answer, "deleted")

    async def grant(self, ttl: timedelta, lease: LeaseId | None) -> LeaseId:
        """As `Store.grant`. An id of our own choice makes it harmless to ask twice."""
        while True:
            wanted = Lease(self._some_lease_id() if lease is None else lease, ttl)
            body = {"ID": str(wanted.id), "TTL": str(-(-ttl // timedelta(seconds=1)))}
            try:
                await self._gateway.call("/v3/lease/grant", body, repeatable=True)
            except Refused as error:
                exists = error.refusal.kind is Kind.LEASE_EXISTS
                if exists and lease is None and not error.repeated:
                    continue
                # Of our own, from an attempt whose answer was lost; a chosen id may be another's.
                if not exists or lease is not None:
                    await self._refuse(error, (), (wanted.id,))
            return wanted.id

    async def keep_alive(self, lease: LeaseId) -> timedelta:
        """As `Store.keep_alive`."""
        answer = await self._call("lease/keepalive", {"ID": str(lease)}, repeatable=True)
        ttl = number(answer, "TTL")
        if ttl <= 0:
            raise LeaseNotFound(lease=lease)
        return timedelta(seconds=ttl)

    async def revoke(self, lease: LeaseId) -> None:
        """As `Store.revoke`."""
        try:
            await self._gateway.call("/v3/lease/revoke", {"ID": str(lease)}, repeatable=True)
        except Refused as error:
            gone = error.refusal.kind is Kind.LEASE_NOT_FOUND
            if not (gone and error.repeated):
                await self._refuse(error, (), (lease,))

    async def compact(self, revision: int) -> None:
        """As `Store.compact`."""
        if revision < 1:
            raise Compacted(revision=revision, compact_revision=self.compact_revision)
        try:
            body = {"revision": str(revision)}
            await self._gateway.call("/v3/kv/compaction", body, repeatable=True)
        except Refused as error:
            done = error.refusal.kind is Kind.COMPACTED and error.repeated
            if not (done and await self._find_compaction(revision) == revision):
                await self._refuse(error, (revision,), ())
        self.compact_revision = max(self.compact_revision, revision)

    async def _pages(self, op: Range) -> RangeResult:
        kvs: list[KeyValue] = []
        first: RangeResult | None = None
        page = op
        while True:
            left = PAGE_KEYS if op.limit is None else min(PAGE_KEYS, op.limit - len(kvs))
            body = self._messages.range(replace(page, limit=left))
            past = () if page.revision is None else (page.revision,)
            answer = await self._call("kv/range", body, repeatable=True, past=past)
            found = self._messages.range_result(answer, revision=revision_of(answer))
            first = first or found
            kvs += found.kvs
            if not found.more or (op.limit is not None and len(kvs) >= op.limit):
                return RangeResult(first.revision, tuple(kvs), first.count)
            after = kvs[-1].key + b"\0"
            page = replace(page, key=after, revision=op.revision or first.revision)

    async def _call(
        self,
        what: str,
        body: Document,
        *,
        repeatable: bool = False,
        past: Sequence[int] = (),
        leases: Sequence[LeaseId] = (),
    ) -> dict[str, Any]:
        try:
            return await self._gateway.call(f"/v3/{what}", body, repeatable=repeatable)
        except Refused as error:
            await self._refuse(error, past, leases)

    async def _refuse(
        self, error: Refused, past: Sequence[int], leases: Sequence[LeaseId]
    ) -> NoReturn:
        """Raise the store's error for etcd's; *past*, *leases*: what the request spoke of."""
        reason = error.refusal.reason
        user = self._gateway.address.user
        match error.refusal.kind:
            case Kind.COMPACTED if past:
                lowest = min(past)
                compacted = await self._find_compaction(lowest)
                raise Compacted(revision=lowest, compact_revision=compacted) from error
            case Kind.FUTURE if past:
                current = await self.revision()
                raise FutureRevision(revision=max(past), current=current) from error
            case Kind.LEASE_NOT_FOUND if leases:
                raise LeaseNotFound(lease=await self._find_missing(leases)) from error
            case Kind.LEASE_EXISTS if leases:
                raise LeaseExists(lease=leases[0]) from error
            case Kind.TOO_LARGE:
                raise EtcdLimitExceeded(reason=reason) from error
            case Kind.NO_SPACE:
                raise EtcdNoSpace from error
            case Kind.LOGIN_REFUSED:
                raise EtcdLoginRefused(user=user, reason=repr(reason)) from error
            case Kind.FORBIDDEN:
                raise EtcdForbidden(user=user, prefix=self._messages.prefix) from error
            case _:
                raise EtcdRefused(reason=reason) from error

    async def _find_compaction(self, revision: int) -> int:
        """Where history begins, above *revision*: etcd tells it to nobody but watches."""
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                request = self._messages.watch(b"", None, 1)
                async with self._gateway.stream("/v3/watch", request) as (_, results):
                    async for result in results:
                        found = number(result, "compact_revision")
                        if found or result.get("canceled"):
                            self.compact_revision = max(self.compact_revision, found)
                            break
        except (TimeoutError, Unsent, Lost, Refused):
            pass  # it is known to lie above
        return self.compact_revision or revision + 1

    async def _find_missing(self, leases: Sequence[LeaseId]) -> LeaseId:
        """The first of *leases* that is not there; the first one if that cannot be told."""
        for lease in leases[:-1]:
            answer = await self._call("lease/timetolive", {"ID": str(lease)}, repeatable=True)
            if number(answer, "TTL") < 0:
                return lease
        return leases[-1]

    def _some_lease_id(self) -> LeaseId:
        return LeaseId(self._rng.getrandbits(63) or 1)
