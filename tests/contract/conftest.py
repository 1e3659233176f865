from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import cycle
from pathlib import Path

import pytest

from contract.raft_nodes import running_nodes
from moreton.election.sync import SyncStore
from moreton.store import Store, open_store
from support.etcd_server import EtcdServer, running_etcd
from support.stores import OF_ONE_PROCESS, URLS, OpenStore


@pytest.fixture(scope="session")
def etcd_of_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with running_etcd(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture
def etcd(etcd_of_session: EtcdServer) -> Iterator[EtcdServer]:
    """The session's etcd; a test takes a prefix of its own."""
    yield etcd_of_session
    etcd_of_session.revoke_leases()


@pytest.fixture(params=[*URLS, "raft"])
async def opening(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Opens clients of one state; of raft, at one node of three after the other."""
    backend = request.param
    if backend == "raft":
        async with running_nodes(tmp_path) as nodes:
            turns = cycle(nodes.stores.values())
            yield lambda: next(turns)
        return
    url = URLS[backend](request, tmp_path)
    clients: list[Store] = []

    def client() -> Store:
        if not (clients and backend in OF_ONE_PROCESS):
            clients.append(open_store(url))
        return clients[-1]

    yield client
    for opened in clients:
        await opened.close()


@pytest.fixture(params=list(URLS))
def sync_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SyncStore]:
    """A store for threads."""
    with SyncStore(URLS[request.param](request, tmp_path)) as store:
        yield store
