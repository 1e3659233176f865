from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.discovery.world import PushingServer


@pytest.fixture(scope="module")
def one_server() -> Iterator[PushingServer]:
    server = PushingServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(one_server: PushingServer) -> PushingServer:
    """One that runs and knows nothing; a test that stops it starts it again."""
    one_server.clear()
    return one_server
