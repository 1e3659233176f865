from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from moreton.sim.store import (
    RESTART_CHECKS,
    STORE_CHECKS,
    RestartCheck,
    RestartedStoreUnderTest,
    StoreCheck,
    StoreUnderTest,
)
from moreton.store import Store, open_store

# Long enough to be renewed on a busy machine, short enough to wait for.
TTL = timedelta(milliseconds=200)


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    urls = {"memory": "memory:", "sqlite": f"sqlite:///{tmp_path}/store.sqlite"}
    opened = open_store(urls[request.param])
    yield opened
    await opened.close()


@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: str(check.__name__))
async def test_store_conforms_to_etcd(check: StoreCheck, store: Store) -> None:
    await check(StoreUnderTest(store, ttl=TTL))


@pytest.mark.parametrize("check", RESTART_CHECKS, ids=lambda check: str(check.__name__))
async def test_sqlite_store_conforms_after_a_restart(check: RestartCheck, tmp_path: Path) -> None:
    async def reopen() -> Store:
        return open_store(f"sqlite:///{tmp_path}/store.sqlite")

    await check(RestartedStoreUnderTest(reopen, ttl=TTL))
