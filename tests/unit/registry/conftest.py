from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from moreton.registry import Registry
from moreton.store.memory import open_memory_store
from unit.registry.house import HandClock, House


@pytest.fixture
async def house() -> AsyncIterator[House]:
    clock = HandClock()
    store = open_memory_store(clock=clock)
    yield House(store, Registry(store, clock=clock), clock)
    await store.close()
