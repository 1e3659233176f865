from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.registry.world import Programs, RegistryServer


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    server = RegistryServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def programs(server: RegistryServer, tmp_path: Path) -> Iterator[Programs]:
    programs = Programs(server, tmp_path)
    yield programs
    programs.end()
