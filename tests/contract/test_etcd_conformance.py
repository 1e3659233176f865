"""The conformance suite, unchanged, on a real etcd."""

from __future__ import annotations

from datetime import timedelta

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
from support.etcd_server import EtcdServer

# etcd counts in whole seconds.
TTL = timedelta(seconds=1)


@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: str(check.__name__))
async def test_etcd_store_conforms(check: StoreCheck, etcd: EtcdServer) -> None:
    store = open_store(etcd.url(check.__name__))
    try:
        await check(StoreUnderTest(store, ttl=TTL))
    finally:
        await store.close()


@pytest.mark.parametrize("check", RESTART_CHECKS, ids=lambda check: str(check.__name__))
async def test_etcd_store_conforms_after_a_restart(check: RestartCheck, etcd: EtcdServer) -> None:
    opened = 0

    async def reopen() -> Store:
        nonlocal opened
        opened += 1
        if opened > 1:
            etcd.restart()
        return open_store(etcd.url(check.__name__))

    await check(RestartedStoreUnderTest(reopen, ttl=TTL))
    assert opened > 1
