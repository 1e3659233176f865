from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.nodes.world import Nodes, three_nodes
from support.etcd_server import EtcdServer, running_etcd


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    with running_etcd(tmp_path) as server:
        yield server


@pytest.fixture
def nodes(tmp_path: Path, etcd: EtcdServer) -> Iterator[Nodes]:
    with three_nodes(tmp_path, etcd.url("shop", timeout="2s")) as nodes:
        yield nodes
