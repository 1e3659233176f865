from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moreton.envoy.xds import XdsServer
from support.delta_client import DeltaClient


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[XdsServer]:
    server = XdsServer()
    await server.start(f"unix:{tmp_path / 'xds.sock'}")
    yield server
    await server.stop()


@pytest.fixture
async def client(
    server: XdsServer,  # noqa: ARG001 - it must listen first
    tmp_path: Path,
) -> AsyncIterator[DeltaClient]:
    client = DeltaClient(f"unix:{tmp_path / 'xds.sock'}")
    yield client
    await client.close()


@pytest.fixture
async def second(
    server: XdsServer,  # noqa: ARG001 - it must listen first
    tmp_path: Path,
) -> AsyncIterator[DeltaClient]:
    client = DeltaClient(f"unix:{tmp_path / 'xds.sock'}")
    yield client
    await client.close()
