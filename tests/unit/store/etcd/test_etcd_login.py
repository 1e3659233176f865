"""Logins at an etcd that takes connections and says nothing."""

from __future__ import annotations

import asyncio

from moreton.store import open_store
from moreton.store.etcd.errors import EtcdUnreachable

TIMEOUT_SECONDS = 0.3
CALLS = 10


async def test_calls_that_wait_for_one_login_end_when_their_own_time_is_up() -> None:
    over = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    options = f"user=u&password=p&timeout={TIMEOUT_SECONDS * 1000:.0f}ms"
    store = open_store(f"etcd://{host}:{port}/?{options}")
    loop = asyncio.get_running_loop()
    began = loop.time()
    found = await asyncio.gather(*(store.range(b"a") for _ in range(CALLS)), return_exceptions=True)
    took = loop.time() - began
    assert all(isinstance(each, EtcdUnreachable) for each in found), found
    assert took < TIMEOUT_SECONDS * CALLS / 2, "not one after the other"
    await store.close()
    over.set()
    server.close()
