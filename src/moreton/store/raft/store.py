"""The store of a node: what any node of the cluster is asked for, the cluster answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from moreton.kernel.rng import system_rng
from moreton.store.core.errors import LeaseExists
from moreton.store.core.model import (
    Compare,
    Delete,
    DeleteResult,
    Lease,
    LeaseId,
    Op,
    Put,
    Range,
    RangeResult,
    Transaction,
    TxnResult,
    WatchBatch,
)
from moreton.store.protocol import Store, StoreStatistics
from moreton.store.raft.core.address import Reads
from moreton.store.raft.core.commands import Compact, Grant, Revoke
from moreton.store.raft.node import ClusterNode
from moreton.store.watching import Watch


class RaftStore(Store):
    """A store that is a cluster, at one of its nodes. Used from one event loop only."""

    def __init__(self, node: ClusterNode, *, reads: Reads = Reads.LINEARIZABLE) -> None:
        self.node = node
        self._reads = reads
        self._machine = node.machine
        self._hub = node.machine.hub
        self._rng = system_rng()

    async def range(
        self,
        key: bytes,
        end: bytes | None = None,
        *,
        revision: int | None = None,
        limit: int | None = None,
    ) -> RangeResult:
        """As `Store.range`. Raises `ClusterUnreachable`, unless reads are local."""
        op = Range(key, end, revision, limit)
        await self._catch_up()
        return self._machine.state.read(op, visible=self._hub.revision)

    async def txn(
        self,
        compare: Sequence[Compare] = (),
        then: Sequence[Op] = (),
        otherwise: Sequence[Op] = (),
    ) -> TxnResult:
        """As `Store.txn`. Raises `ClusterUnreachable`, `RaftAnswerLost`."""
        request = Transaction(tuple(compare), tuple(then), tuple(otherwise))
        if all(isinstance(op, Range) for op in (*request.then, *request.otherwise)):
            # It changes nothing, so that no log needs to know of it.
            await self.node.barrier()
            return self._machine.state.apply(request)[0]
        result = await self.node.propose(request)
        assert isinstance(result, TxnResult)
        return result

    async def put(self, key: bytes, value: bytes, *, lease: LeaseId | None = None) -> int:
        """As `Store.put`. Raises `ClusterUnreachable`, `RaftAnswerLost`."""
        return (await self.txn(then=(Put(key, value, lease),))).revision

    async def delete(self, key: bytes, end: bytes | None = None) -> int:
        """As `Store.delete`. Raises `ClusterUnreachable`, `RaftAnswerLost`."""
        result = (await self.txn(then=(Delete(key, end),))).results[0]
        assert isinstance(result, DeleteResult)
        return result.deleted

    async def grant(self, ttl: timedelta, *, lease: LeaseId | None = None) -> LeaseId:
        """As `Store.grant`. Raises `ClusterUnreachable`, `RaftAnswerLost`."""
        while True:
            granted = Lease(self._some_lease_id() if lease is None else lease, ttl)
            try:
                await self.node.propose(Grant(granted))
            except LeaseExists:
                if lease is not None:
                    raise
            else:
                return granted.id

    async def keep_alive(self, lease: LeaseId) -> timedelta:
        """As `Store.keep_alive`: the leader takes note, nothing is written down.

        Raises `ClusterUnreachable`: the lease was not renewed, and ends when its time is up.
        """
        return await self.node.renew(lease)

    async def revoke(self, lease: LeaseId) -> None:
        """As `Store.revoke`. Raises `ClusterUnreachable`, `RaftAnswerLost`."""
        await self.node.propose(Revoke(lease))

    @asynccontextmanager
    async def watch(
        self, key: bytes, end: bytes | None = None, *, from_revision: int | None = None
    ) -> AsyncIterator[AsyncIterator[WatchBatch]]:
        """As `Store.watch`: of this node, which may learn of a change after others did.

        Revisions are the same on all nodes, so that a watch may be taken up again at another.
        """
        if from_revision is not None and from_revision < 1:
            message = f"revision {from_revision} is below 1, the revision of an empty store"
            raise ValueError(message)
        await (self._catch_up() if from_revision is None else self.node.wait_started())
        first = self._hub.revision + 1 if from_revision is None else from_revision
        self._hub.check(first)
        watch = Watch(self._hub, key, end, first)
        self._hub.add(watch)
        try:
            yield watch
        finally:
            self._hub.remove(watch)

    async def compact(self, revision: int) -> None:
        """As `Store.compact`. Raises `ClusterUnreachable`, `RaftAnswerLost`."""
        await self.node.propose(Compact(revision))

    def statistics(self) -> StoreStatistics:
        """As `Store.statistics`, as this node has it."""
        state = self._machine.state
        numbers = self.node.numbers()
        return StoreStatistics(
            revision=self._hub.revision,
            compact_revision=state.compact_revision,
            keys=len(state.keyspace),
            leases=len(state.leases),
            watches=len(self._hub),
            history_events=state.history.events,
            history_bytes=state.history.bytes,
            writes_pending=numbers.writes_pending,
            commits=0,
            file_bytes=numbers.disk_bytes,
        )

    async def close(self) -> None:
        """As `Store.close`; the node stops with it, the others go on."""
        await self.node.close()

    async def _catch_up(self) -> None:
        if self._reads is Reads.LINEARIZABLE:
            await self.node.barrier()
        else:
            await self.node.wait_started()

    def _some_lease_id(self) -> LeaseId:
        # 63 bits, never 0: the ids that etcd makes, too.
        return LeaseId(self._rng.getrandbits(63) or 1)
