"""Every backend of the store, for what must hold on each of them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from itertools import count
from pathlib import Path

import pytest

from moreton.store import Store, open_store
from support.etcd_server import EtcdServer

# Opens one more client of the same state.
OpenStore = Callable[[], Store]
Backend = Callable[[pytest.FixtureRequest, Path], AbstractAsyncContextManager[OpenStore]]
_NUMBERS = count()


@contextlib.asynccontextmanager
async def memory(_: pytest.FixtureRequest, __: Path) -> AsyncIterator[OpenStore]:
    store = open_store("memory:")
    yield lambda: store
    await store.close()


@contextlib.asynccontextmanager
async def sqlite(_: pytest.FixtureRequest, folder: Path) -> AsyncIterator[OpenStore]:
    store = open_store(f"sqlite:///{folder}/store.sqlite")
    yield lambda: store
    await store.close()


@contextlib.asynccontextmanager
async def etcd(request: pytest.FixtureRequest, _: Path) -> AsyncIterator[OpenStore]:
    server: EtcdServer = request.getfixturevalue("etcd_of_session")
    prefix = f"elections{next(_NUMBERS)}"
    clients: list[Store] = []

    def opening() -> Store:
        clients.append(open_store(server.url(prefix)))
        return clients[-1]

    yield opening
    for client in clients:
        await client.close()


BACKENDS: dict[str, Backend] = {"memory": memory, "sqlite": sqlite, "etcd": etcd}
