from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

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


@pytest.fixture(params=list(URLS))
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend in turn."""
    return str(request.param)


@pytest.fixture
async def opening(
    backend: str, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[OpenStore]:
    """Opens clients of one state."""
    url = URLS[backend](request, tmp_path)
    clients: list[Store] = []

    def client() -> Store:
        if not (clients and backend in OF_ONE_PROCESS):
            clients.append(open_store(url))
        return clients[-1]

    yield client
    for opened in clients:
        await opened.close()


@pytest.fixture
def sync_store(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SyncStore]:
    """A store for threads."""
    with SyncStore(URLS[backend](request, tmp_path)) as store:
        yield store
