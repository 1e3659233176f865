from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from support.etcd_server import EtcdServer, running_etcd
from support.stores import BACKENDS, OpenStore


@pytest.fixture(scope="session")
def etcd_of_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with running_etcd(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture
def etcd(etcd_of_session: EtcdServer) -> Iterator[EtcdServer]:
    """The session's etcd; a test takes a prefix of its own."""
    yield etcd_of_session
    etcd_of_session.revoke_leases()


@pytest.fixture(params=list(BACKENDS))
async def opening(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Clients of one state, of each backend in turn."""
    async with BACKENDS[request.param](request, tmp_path) as clients:
        yield clients
