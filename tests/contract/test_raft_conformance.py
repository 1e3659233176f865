"""The conformance suite, unchanged, on three nodes: at the leader and at a follower."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from contract.raft_nodes import Nodes, running_nodes
from moreton.sim.store import (
    RESTART_CHECKS,
    STORE_CHECKS,
    RestartCheck,
    RestartedStoreUnderTest,
    StoreCheck,
    StoreUnderTest,
)
from moreton.store import Store, prefix_end
from moreton.store.errors import LeaseNotFound

TTL = timedelta(milliseconds=500)
# One cluster for all checks: each finds it without keys and leases.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Nodes]:
    async with running_nodes(tmp_path_factory.mktemp("raft")) as nodes:
        yield nodes


async def clear(store: Store, nodes: Nodes) -> None:
    for lease in list(nodes.stores[1].node.machine.state.leases):
        with suppress(LeaseNotFound):
            await store.revoke(lease)
    await store.delete(b"conformance/", prefix_end(b"conformance/"))


@pytest.mark.parametrize("role", ["leader", "follower"])
@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: str(check.__name__))
async def test_raft_store_conforms(check: StoreCheck, role: str, cluster: Nodes) -> None:
    store = await (cluster.leader() if role == "leader" else cluster.follower())
    try:
        await check(StoreUnderTest(store, ttl=TTL))
    finally:
        await clear(store, cluster)


@pytest.mark.parametrize("check", RESTART_CHECKS, ids=lambda check: str(check.__name__))
async def test_raft_store_conforms_after_a_restart_of_all_nodes(
    check: RestartCheck, tmp_path: Path
) -> None:
    async with running_nodes(tmp_path) as nodes:
        opened = 0

        async def reopen() -> Store:
            nonlocal opened
            opened += 1
            if opened > 1:
                await restart(nodes)
            return await nodes.follower()

        await check(RestartedStoreUnderTest(reopen, ttl=TTL))
        assert opened > 1


async def restart(nodes: Nodes) -> None:
    """All nodes, the one that was closed by the check too."""
    await nodes.stop_all()
    for number in (1, 2, 3):
        await nodes.start(number)
