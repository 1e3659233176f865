from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from e2e.envoy.world import Backend, World
from support.ports import free_port


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    backend = Backend()
    await backend.start()
    world = World(tmp_path / "envoy", free_port(), backend)
    try:
        yield world
    finally:
        world.end()
        backend.finish.set()
        await backend.stop()
