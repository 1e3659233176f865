from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.etcd_server import EtcdServer, running_etcd


@pytest.fixture(scope="session")
def etcd_of_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with running_etcd(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture
def etcd(etcd_of_session: EtcdServer) -> Iterator[EtcdServer]:
    """The session's etcd; a test takes a prefix of its own."""
    yield etcd_of_session
    etcd_of_session.revoke_leases()
