from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from moreton.controlplane.cluster.errors import OtherCluster, StoreNotReached
from moreton.controlplane.cluster.home import Home, Peer
from moreton.controlplane.cluster.joining import Membership, join, reach, shown_url
from moreton.controlplane.state_folder import StateFolder
from moreton.store import Store, open_store
from moreton.store.errors import StoreError, UnknownStoreUrl
from moreton.store.etcd.errors import EtcdUnreachable


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    opened = open_store("memory:")
    yield opened
    await opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder.hold(tmp_path / "one")


async def test_first_node_founds_the_cluster_and_the_others_join_with_its_token(
    store: Store, folder: StateFolder, tmp_path: Path
) -> None:
    other = StateFolder.hold(tmp_path / "other")
    token = folder.token()
    assert other.token() != token
    first = await join(store, folder, shown="the store")
    second = await join(store, other, shown="the store")
    assert first.home.cluster == second.home.cluster != ""
    assert first.home.id != second.home.id
    assert first.token == second.token == other.token() == token
    assert Home.read(other.path) == second.home
    assert (await join(store, folder, shown="the store")).home == first.home


async def test_two_nodes_that_begin_at_once_found_one_cluster(store: Store, tmp_path: Path) -> None:
    folders = [StateFolder.hold(tmp_path / str(number)) for number in range(3)]
    joined = await asyncio.gather(*(join(store, each, shown="it") for each in folders))
    assert len({each.home.cluster for each in joined}) == 1
    assert len({each.token for each in joined}) == 1


async def test_node_of_another_cluster_is_refused_and_changes_nothing(
    store: Store, folder: StateFolder, tmp_path: Path
) -> None:
    await join(store, folder, shown="the store")
    second = open_store("memory:")
    other = StateFolder.hold(tmp_path / "other")
    await join(second, other, shown="the second")
    revision = second.statistics().revision
    token = folder.token()
    with pytest.raises(OtherCluster, match=r"the store the second holds the cluster .* delete .*"):
        await join(second, folder, shown="the second")
    empty = open_store("memory:")
    with pytest.raises(OtherCluster, match="the store the third is empty, and this node belongs"):
        await join(empty, folder, shown="the third")
    assert second.statistics().revision == revision
    assert empty.statistics().revision == 1
    assert folder.token() == token
    (folder.path / "cluster.json").unlink()
    await join(second, folder, shown="the second")
    assert folder.token() == other.token()
    await second.close()
    await empty.close()


async def test_home_that_cannot_be_read_is_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text('{"id": "x", "peers": [{"colour": "green"}]}')
    assert Home.read(tmp_path).cluster == ""
    assert Home.read(tmp_path).id != "x"


def test_home_keeps_the_addresses_of_nodes_that_are_gone() -> None:
    a, b, moved = Peer("a", "http://a:1"), Peer("b", "http://b:1"), Peer("a", "http://a:2")
    home = Home("id").with_peers([a, b])
    assert home.peers == (a, b)
    assert home.with_peers([moved]).peers == (moved, b)
    assert len(home.with_peers([Peer(str(n), "http://n:1") for n in range(99)]).peers) == 16


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "etcd://me:secret@10.0.0.1:2379,10.0.0.2:2379/shop?timeout=1s",
            "etcd://10.0.0.1:2379,10.0.0.2:2379/shop",
        ),
        ("etcd://10.0.0.1/shop?user=me&password=secret", "etcd://10.0.0.1/shop"),
        ("raft:///var/lib/moreton", "raft:///var/lib/moreton"),
    ],
)
def test_address_is_shown_without_what_is_secret(url: str, shown: str) -> None:
    assert shown_url(url) == shown


class Asked:
    """A store that is not there before it was asked *failures* times."""

    def __init__(self, failures: int, error: StoreError) -> None:
        self.failures = failures
        self.error = error
        self.times = 0
        self.served = 0

    async def join(self) -> Membership:
        self.times += 1
        if self.times <= self.failures:
            raise self.error
        return Membership(Home("id"), "token")

    async def serve(self) -> bool:
        self.served += 1
        return False


AWAY = EtcdUnreachable(endpoints=["10.0.0.1:2379"], reason="no route")


async def test_store_that_comes_soon_is_waited_for_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = Asked(3, AWAY)
    with caplog.at_level(logging.WARNING):
        found = await reach(asked.join, store="it", serve_meanwhile=asked.serve)
    assert found.token == "token"
    assert asked.times == 4
    assert asked.served == 0
    assert not caplog.messages


async def test_store_that_does_not_come_is_given_up_when_nothing_is_served(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moreton.controlplane.cluster.joining.PATIENCE", timedelta(milliseconds=50))
    asked = Asked(10_000, AWAY)
    limit = timedelta(milliseconds=300)
    with caplog.at_level(logging.WARNING), pytest.raises(StoreNotReached, match="no route"):
        await reach(asked.join, store="it", serve_meanwhile=asked.serve, wait_max=limit)
    assert asked.served == 1
    assert caplog.messages[0].startswith("waiting for the store it: no etcd answers at 10.0.0.1")


async def test_store_that_will_never_do_is_refused_at_once() -> None:
    asked = Asked(10_000, UnknownStoreUrl(url="what"))
    with pytest.raises(UnknownStoreUrl):
        await reach(asked.join, store="it", serve_meanwhile=asked.serve)
    assert asked.times == 1
