"""A cluster made, run, changed, saved and restored by its commands, with real processes."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from e2e.cluster.processes import Cluster, command
from moreton.store import Store, open_store

pytestmark = pytest.mark.e2e


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    try:
        yield made
    finally:
        made.kill_all()


@asynccontextmanager
async def store_of(cluster: Cluster, number: int) -> AsyncIterator[Store]:
    """The store at a node that this process runs itself."""
    store = open_store(f"raft:///{cluster.path(number)}")
    try:
        yield store
    finally:
        await store.close()


async def three(cluster: Cluster) -> None:
    """Two nodes as processes, and the folder of a third that has joined."""
    await cluster.init()
    cluster.run(1)
    await cluster.until_leads(voters=1)
    await cluster.join(2)
    cluster.run(2)
    await cluster.join(3)


async def test_three_nodes_are_made_by_commands_and_outlive_the_kill_of_their_leader(
    cluster: Cluster,
) -> None:
    await three(cluster)
    async with store_of(cluster, 3) as store:
        await store.put(b"a", b"1")
        leader = await cluster.until_leads(voters=3)
        if leader == 3:
            await cluster.ok("transfer", str(cluster.path(1)), "--to", "1")
            leader = 1
        cluster.nodes[leader].kill()
        await store.put(b"a", b"2")
        assert [kv.value for kv in (await store.range(b"a")).kvs] == [b"2"]
        shown = await cluster.status(at=3)
        assert [one["reachable"] for one in shown["nodes"]].count(False) == 1
        cluster.run(leader)
        await cluster.until_leads(at=3, voters=3)


async def test_leadership_is_handed_over_by_command_and_when_the_leader_is_stopped(
    cluster: Cluster,
) -> None:
    await three(cluster)
    cluster.run(3)
    leader = await cluster.until_leads(voters=3)
    target = 1 + leader % 3
    term = (await cluster.status())["term"]
    assert (await cluster.ok("transfer", str(cluster.path(1)), "--to", str(target)))["leader"] == (
        target
    )
    shown = await cluster.status()
    assert (shown["leader"], shown["term"]) == (target, term + 1)
    cluster.nodes[target].signal(signal.SIGTERM)
    assert await cluster.nodes[target].wait_ended() == 0
    assert (await cluster.status(at=leader))["term"] == term + 2


@pytest.mark.long
async def test_node_that_leaves_ends_and_says_why(cluster: Cluster) -> None:
    await three(cluster)
    cluster.run(3)
    await cluster.until_leads(voters=3)
    left = await cluster.ok("leave", str(cluster.path(1)), "--node", "2")
    assert left["left"] == 2
    assert await cluster.nodes[2].wait_ended() == 6
    assert "node 2 was removed from its cluster" in cluster.nodes[2].log.read_text()
    await cluster.until_leads(voters=2)
    # Its folder is of no use any more.
    cluster.run(2)
    assert await cluster.nodes[2].wait_ended() == 6


async def test_lost_node_is_replaced_and_its_number_is_not_given_again(cluster: Cluster) -> None:
    await three(cluster)
    cluster.run(3)
    await cluster.until_leads(voters=3)
    cluster.nodes[3].kill()
    for file in (cluster.path(3) / "log").iterdir():
        file.unlink()
    cluster.run(3)
    assert await cluster.nodes[3].wait_ended() == 6
    assert "holds no log of node 3" in cluster.nodes[3].log.read_text()
    await cluster.ok("leave", str(cluster.path(1)), "--node", "3")
    joined = await cluster.join(4)
    assert joined["node"] == 4
    cluster.run(4)
    await cluster.until_leads(voters=3)


async def test_snapshot_is_restored_as_another_cluster_with_the_same_contents(
    cluster: Cluster, tmp_path: Path
) -> None:
    await three(cluster)
    file = tmp_path / "saved.snapshot"
    async with store_of(cluster, 3) as store:
        for number in range(30):
            await store.put(b"%02d" % number, b"x" * 1000)
        revision = (await store.range(b"00")).revision
        saved = await cluster.ok("snapshot", str(cluster.path(1)), str(file))
    assert (saved["revision"], saved["keys"]) == (revision, 30)
    other = Cluster(tmp_path / "other")
    other.addresses[1] = "127.0.0.1:0"
    try:
        address = f"127.0.0.1:{cluster.addresses[3].rpartition(':')[2]}"
        made = await other.ok("restore", str(file), str(other.path(1)), "--address", address)
        assert made["cluster"] != saved["cluster"]
        async with store_of(other, 1) as store:
            found = await store.range(b"00", b"99")
            assert (found.revision, found.count) == (revision, 30)
            assert await store.put(b"a", b"1") == revision + 1
    finally:
        other.kill_all()


async def test_commands_say_when_no_node_runs(cluster: Cluster) -> None:
    await cluster.init()
    for words in (["status"], ["transfer", "--to", "1"], ["leave"], ["snapshot", "x.snapshot"]):
        status, _, err = await command(words[0], str(cluster.path(1)), *words[1:])
        assert status == 4
        assert f"no node of a cluster answers at {cluster.addresses[1]}" in err
