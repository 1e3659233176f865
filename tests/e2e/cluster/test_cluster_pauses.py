"""A leader that is stopped and goes on: it ends no lease, and cannot write."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from e2e.cluster.processes import Cluster
from moreton.store import Compare, Put, open_store
from moreton.store.raft import RaftStore

pytestmark = [pytest.mark.e2e, pytest.mark.long]
TTL = timedelta(seconds=3)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    try:
        yield made
    finally:
        made.kill_all()


async def test_stopped_leader_ends_no_lease_and_undoes_nothing_when_it_goes_on(
    cluster: Cluster,
) -> None:
    await cluster.init()
    cluster.run(1)
    await cluster.until_leads(voters=1)
    await cluster.join(2)
    cluster.run(2)
    await cluster.join(3)
    store = open_store(f"raft:///{cluster.path(3)}")
    assert isinstance(store, RaftStore)
    renewing: asyncio.Task[None] | None = None
    try:
        await cluster.until_leads(voters=3)
        await cluster.ok("transfer", str(cluster.path(1)), "--to", "1")
        lease = await store.grant(TTL)
        await store.put(b"owner", b"me", lease=lease)

        async def renew() -> None:
            while True:
                await store.keep_alive(lease)
                await asyncio.sleep(TTL.total_seconds() / 10)

        renewing = asyncio.create_task(renew())
        term = store.node.status().raft.term
        cluster.nodes[1].signal(signal.SIGSTOP)
        # Answered by another leader, as this one does not move.
        await store.put(b"n", b"1")
        assert store.node.status().raft.term > term
        # Longer than the lease lives without renewals.
        await asyncio.sleep(TTL.total_seconds() * 1.5)
        cluster.nodes[1].signal(signal.SIGCONT)
        mine = [Compare.value(b"owner", "=", b"me")]
        for number in range(20):
            assert (await store.txn(mine, [Put(b"n", b"%d" % number)])).succeeded
            await asyncio.sleep(0.05)
        await cluster.until_leads(at=3, voters=3)
        assert not renewing.done()
        (kv,) = (await store.range(b"owner")).kvs
        assert kv.lease == lease
    finally:
        if renewing is not None:
            renewing.cancel()
            await asyncio.wait({renewing})
        await store.close()
