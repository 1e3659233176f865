from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from unit.registry.consul.asking import Consul, serving


@pytest_asyncio.fixture
async def consul() -> AsyncIterator[Consul]:
    async with serving() as one:
        yield one
