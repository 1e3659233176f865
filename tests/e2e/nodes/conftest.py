from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.raft_nodes import running_nodes
from e2e.nodes.world import NAMES, Living, Nodes, three_nodes
from support.etcd_server import EtcdServer, running_etcd


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    with running_etcd(tmp_path) as server:
        yield server


@pytest.fixture
def nodes(tmp_path: Path, etcd: EtcdServer) -> Iterator[Nodes]:
    url = etcd.url("shop", timeout="2s")
    with three_nodes(tmp_path, dict.fromkeys(NAMES, url)) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def living_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Living]:
    folder = tmp_path_factory.mktemp("living")
    with running_etcd(folder) as etcd:
        url = etcd.url("shop", timeout="2s")
        with three_nodes(folder, dict.fromkeys(NAMES, url)) as nodes:
            yield Living(nodes, etcd)


@pytest.fixture
def living(living_of_module: Living) -> Living:
    """As if just begun, whatever the test before did to them: three starts take a while."""
    assert living_of_module.etcd.child is not None
    if living_of_module.etcd.child.poll() is not None:
        living_of_module.etcd.start()
    living_of_module.nodes.begin_again()
    return living_of_module


@pytest.fixture
def nodes_on_raft(tmp_path: Path) -> Iterator[Nodes]:
    """Each has a node of one Raft cluster in itself: there is no other server."""
    asyncio.run(make_raft_folders(tmp_path))
    stores = {name: f"raft:///{tmp_path}/node{n}" for n, name in enumerate(NAMES, 1)}
    with three_nodes(tmp_path, stores) as nodes:
        yield nodes


@pytest.fixture
def nodes_to_make(tmp_path: Path) -> Iterator[Nodes]:
    """Each is to have a node of the store in its folder `store`, which nobody has made yet."""
    with three_nodes(tmp_path, dict.fromkeys(NAMES, "raft:///store?timeout=5s")) as nodes:
        yield nodes


async def make_raft_folders(folder: Path) -> None:
    """What is left of a Raft cluster of three once it was stopped."""
    async with running_nodes(folder):
        pass
